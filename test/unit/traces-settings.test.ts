/** OpenTelemetry's own settings, as far as they are ours. */
import { randomBytes } from 'node:crypto'
import { inspect } from 'node:util'
import t from 'tap'
import { type Environment, readConfig, takeEnvironment } from '../../src/config.ts'
import { needRestart } from '../../src/reload.ts'
import { told } from '../contract/records.ts'
import { LEAST, problemsOf, wrong } from '../support/settings.ts'

const ON = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318' }

const tracesOf = (environment: Environment) => readConfig({ ...LEAST, ...environment }).traces

t.test('an endpoint is all it takes', async t => {
  t.equal(tracesOf({}), null)
  t.strictSame(tracesOf(ON), {
    endpoint: 'http://collector:4318',
    protocol: 'http/protobuf',
    headers: {},
    serviceName: 'healthtap-gateway',
    resource: {},
    sampler: 'parentbased_always_on',
    share: 1,
  })
  t.match(tracesOf({ OTEL_EXPORTER_OTLP_ENDPOINT: 'https://otlp.example/otlp/' }), {
    endpoint: 'https://otlp.example/otlp',
  })
})

t.test('without one, or switched off, the others are not looked at', async t => {
  const nonsense = { OTEL_TRACES_SAMPLER: 'xray', OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc', OTEL_TRACES_SAMPLER_ARG: 'x' }
  t.equal(tracesOf(nonsense), null)
  t.equal(tracesOf({ ...nonsense, ...ON, OTEL_SDK_DISABLED: 'true' }), null)
  t.equal(tracesOf({ ...nonsense, OTEL_SDK_DISABLED: 'perhaps' }), null)
  t.not(tracesOf({ ...ON, OTEL_SDK_DISABLED: 'false' }), null)
})

t.test('lists of pairs', async t => {
  const traces = tracesOf({
    ...ON,
    OTEL_EXPORTER_OTLP_HEADERS: 'Authorization=Basic%20dTpw==, x-scope = team a ,',
    OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=staging,k8s.pod.name=a%2Cb,empty=',
  })
  t.strictSame(told(traces?.headers), {
    authorization: { secret: 'Basic dTpw==' },
    'x-scope': { secret: 'team a' },
  })
  t.strictSame(traces?.resource, { 'deployment.environment.name': 'staging', 'k8s.pod.name': 'a,b', empty: '' })
})

t.test('who we are: by the one setting, else by the other', async t => {
  const OTEL_RESOURCE_ATTRIBUTES = 'service.name=attribute'
  t.match(tracesOf({ ...ON, OTEL_RESOURCE_ATTRIBUTES }), { serviceName: 'attribute' })
  t.match(tracesOf({ ...ON, OTEL_RESOURCE_ATTRIBUTES, OTEL_SERVICE_NAME: 'name' }), { serviceName: 'name' })
})

const FORMS: Readonly<Record<string, { good: readonly string[]; bad: readonly string[] }>> = {
  OTEL_EXPORTER_OTLP_ENDPOINT: {
    good: ['http://10.0.0.1:4318', 'https://otlp.example/a/b', 'http://[::1]:4318/'],
    bad: ['collector:4318', 'grpc://collector', 'http://user:pass@collector', 'http://collector?key=x', 'http://'],
  },
  OTEL_SDK_DISABLED: { good: ['true', 'false'], bad: ['1', 'yes'] },
  OTEL_EXPORTER_OTLP_PROTOCOL: { good: ['http/protobuf', 'http/json'], bad: ['grpc', 'http'] },
  OTEL_EXPORTER_OTLP_HEADERS: {
    good: ['a=b', 'a=b=c', 'A-b=%20c'],
    bad: ['a', '=b', 'a=', 'a b=c', 'a:=b', 'a=%0d%0ab', 'a=%E4', 'a=%zz', 'ü=a'],
  },
  OTEL_SERVICE_NAME: { good: ['gateway'], bad: [] },
  OTEL_RESOURCE_ATTRIBUTES: { good: ['a=b', 'a.b=%C3%BC'], bad: ['a', '=b', 'a=%zz'] },
  OTEL_TRACES_SAMPLER: {
    good: ['always_on', 'always_off', 'traceidratio', 'parentbased_always_off', 'parentbased_traceidratio'],
    bad: ['xray', 'jaeger_remote', 'ALWAYS_ON'],
  },
  OTEL_TRACES_SAMPLER_ARG: { good: ['0', '1', '0.05', '1.0'], bad: ['1.1', '-0.1', '5%', 'half', '.5'] },
}

t.test('each takes its own form, and no other; all that is wrong is named, and not repeated', async t => {
  for (const [name, { good, bad }] of Object.entries(FORMS)) {
    for (const value of good) t.strictSame(problemsOf({ ...LEAST, ...ON, [name]: value }), [], `${name}=${value}`)
    for (const value of bad) t.strictSame(wrong({ ...ON, [name]: value }), [name], `${name}=${value} is refused`)
  }
  const wrongAll = Object.entries(FORMS).flatMap(
    ([
      name,
      {
        bad: [first],
      },
    ]) => (first ? [[name, first]] : []),
  )
  t.strictSame(wrong(Object.fromEntries(wrongAll)).sort(), wrongAll.map(([name]) => name).sort())
  const value = `hush-${randomBytes(12).toString('hex')}`
  const said = problemsOf({ ...LEAST, ...Object.fromEntries(wrongAll.map(([name]) => [name, ` ${value} "`])) })
  t.equal(said.length, wrongAll.length)
  t.notMatch(said.join(), value)
})

t.test(
  'headers are secrets: shown to nobody, taken out of the environment, and a change of them needs a restart',
  async t => {
    const value = `hush-${randomBytes(12).toString('hex')}`
    const secret = { ...ON, OTEL_EXPORTER_OTLP_HEADERS: `authorization=${value}` }
    const config = readConfig({ ...LEAST, ...secret })
    t.notMatch(`${inspect(config, { depth: 9, showHidden: true })}${JSON.stringify(config)}`, value)
    const next = readConfig({ ...LEAST, ...ON, OTEL_EXPORTER_OTLP_HEADERS: 'authorization=another' })
    t.strictSame(needRestart(config, next), ['traces'])
    t.strictSame(needRestart(config, readConfig({ ...LEAST, ...secret })), [])
    process.env.OTEL_EXPORTER_OTLP_HEADERS = `authorization=${value}`
    t.equal(takeEnvironment().OTEL_EXPORTER_OTLP_HEADERS, `authorization=${value}`)
    t.notOk('OTEL_EXPORTER_OTLP_HEADERS' in process.env)
  },
)
