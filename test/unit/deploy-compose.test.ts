/** The image and the stack: that they are as careful as they say, and fit the gateway. `npm run stack:check` runs them. */
import t from 'tap'
import { graceMs } from '../../src/cli/serve.ts'
import { configOf, type Data, documentsIn, filesNamedIn, isSetting, textOf } from '../support/deploy.ts'

const [stack] = documentsIn('docker-compose.yml')
const [scale] = documentsIn('compose.scale.yml')
const [production] = documentsIn('compose.production.yml')
const services: Record<string, Data> = { ...stack.services, balancer: scale.services.balancer }
/** Node's own: whom it trusts. */
const NO_SETTING = ['NODE_EXTRA_CA_CERTS']

t.test('every service is hardened, and bounded', async t => {
  t.strictSame(Object.keys(services).sort(), [
    'balancer',
    'gateway',
    'grafana',
    'prometheus',
    'redis',
    'sandbox',
    'setup',
  ])
  for (const [name, service] of Object.entries(services)) {
    t.match(service, { read_only: true, init: true, cap_drop: ['ALL'], security_opt: ['no-new-privileges:true'] }, name)
    t.match(service, { mem_limit: /^\d+m$/, cpus: Number, pids_limit: Number }, `${name} has limits`)
    t.match(service.logging, { driver: 'json-file', options: { 'max-size': '10m', 'max-file': '5' } }, name)
    t.equal(service.restart, name === 'setup' ? 'no' : 'unless-stopped', name)
    t.notOk(service.privileged ?? service.cap_add ?? service.pid ?? service.ipc ?? service.devices, name)
    if (name !== 'setup') t.ok(service.healthcheck?.test, `${name} is asked how it is`)
  }
  const overridden = [...Object.values(production.services), scale.services.gateway].filter(service => service !== null)
  const hardening = ['read_only', 'init', 'cap_drop', 'security_opt', 'user', 'mem_limit', 'restart', 'ports']
  for (const service of overridden as Data[]) {
    t.strictSame(
      hardening.filter(key => key in service && service[key]?.length !== 0),
      [],
    )
  }
})

t.test('nobody waits for what is not ready', async t => {
  for (const [name, { depends_on: needs = {} }] of Object.entries(services)) {
    for (const [needed, { condition }] of Object.entries<Data>(needs)) {
      t.equal(
        condition,
        needed === 'setup' ? 'service_completed_successfully' : 'service_healthy',
        `${name}, ${needed}`,
      )
    }
  }
})

t.test('ports are published on this machine alone, and Redis is inside alone', async t => {
  for (const [name, { ports = [] }] of Object.entries(services)) {
    for (const port of ports) t.match(port, /^127\.0\.0\.1:/, name)
  }
  t.strictSame(services.redis.networks, ['inside'])
  t.strictSame(services.redis.ports, undefined)
  t.equal(services.setup.network_mode, 'none')
  t.equal(stack.networks.inside.internal, true)
})

t.test('images have a version', async t => {
  const bases = [...textOf('Dockerfile').matchAll(/^FROM (\S+)/gm)].map(([, image]) => image ?? '')
  const stages = [...textOf('Dockerfile').matchAll(/^FROM \S+ AS (\S+)/gm)].map(([, stage]) => stage)
  const images = [...Object.values(services).map(({ image }) => image), ...bases.filter(base => !stages.includes(base))]
  for (const image of images) t.match(image, /^[\w./-]+:(?!latest)(v?\d|bookworm)[\w.-]*$/, image)
  const { version } = JSON.parse(textOf('package.json'))
  for (const { image, build } of Object.values(services)) if (build) t.match(image, `:${version}`)
  t.match(textOf('Dockerfile'), `ARG VERSION=${version}`)
})

t.test('a gateway takes the settings, and knows all of them', async t => {
  const here = { ...stack.services.gateway.environment }
  const there = { ...here, ...production.services.gateway.environment }
  for (const environment of [here, there]) {
    for (const name of Object.keys(environment)) t.ok(isSetting(name) || NO_SETTING.includes(name), name)
  }
  const filled = (environment: object) =>
    Object.fromEntries(Object.entries(environment).map(([name, value]) => [name, filledIn(String(value ?? ''))]))
  t.match(configOf(filled(here)), { port: 3000, publicPort: 3002, metricsPort: 9464 })
  t.match(configOf(filled(there)), { apiUrl: 'https://api.healthtap.com' })
  t.equal(there.NODE_EXTRA_CA_CERTS, null, 'the stand-in is not believed in production')
  const graceSeconds = Number(services.gateway.stop_grace_period.replace('s', ''))
  t.ok(graceSeconds * 1000 >= graceMs(configOf(filled(here))), 'it is not killed before it is done')
  t.match(textOf('deploy/prometheus/prometheus.yml'), `port: ${here.METRICS_PORT}`)
})

t.test(
  'Grafana comes only where it is asked for, finds what is provisioned, and lets nobody change anything',
  async t => {
    const { grafana } = services
    t.strictSame(grafana.profiles, ['grafana'])
    const mounted = new Map(grafana.volumes.map((volume: string) => volume.split(':').slice(0, 2).reverse()))
    const [{ options }] = documentsIn('deploy/grafana/provisioning/dashboards/healthtap-gateway.yml')[0].providers
    t.equal(mounted.get(options.path), './deploy/grafana/dashboards')
    t.equal(mounted.get('/etc/grafana/provisioning'), './deploy/grafana/provisioning')
    const home: string = grafana.environment.GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH
    t.ok(textOf(home.replace(options.path, 'deploy/grafana/dashboards')))
    t.match(grafana.environment, { GF_AUTH_ANONYMOUS_ORG_ROLE: 'Viewer', GF_AUTH_BASIC_ENABLED: 'false' })
  },
)

/** As Compose does with what is not set. */
function filledIn(text: string): string {
  return text.replace(
    /\$\{\w+(?::-([^}]*)|:\?[^}]*)\}/g,
    (_, fallback) => fallback ?? 'https://app.example.com/callback',
  )
}

t.test('secrets are files, and there is somebody who makes each of them', async t => {
  const { environment } = stack.services.gateway
  for (const name of ['HEALTHTAP_APP_SECRET', 'REDIS_URL', 'ENCRYPTION_KEYS', 'AUDIT_KEY', 'CALLERS']) {
    t.notOk(name in environment, name)
    t.ok(`${name}_FILE` in environment, name)
    t.ok(isSetting(name), name)
  }
  const made = [...textOf('deploy/stack/setup.sh').matchAll(/put gateway\/(\w+)/g)].map(([, file]) => file).sort()
  t.strictSame(made, filesNamedIn(environment))
  t.strictSame(production.services.gateway.secrets.toSorted(), filesNamedIn(environment))
  const listed = [...production.services.gateway.secrets, ...production.services.redis.secrets]
  t.strictSame(listed.sort(), Object.keys(production.secrets).sort())
  const all = [
    'docker-compose.yml',
    'compose.scale.yml',
    'compose.production.yml',
    'Dockerfile',
    'deploy/redis/redis.conf',
  ]
  for (const file of all) t.notMatch(textOf(file), /[0-9a-f]{32}|[\w+/]{43}|htgw_[\w-]{20}|requirepass/, file)
  for (const folder of ['secrets/', '.env']) t.ok(textOf('.gitignore').split('\n').includes(folder), folder)
})

t.test('in production there is no stand-in, and none of its secrets', async t => {
  t.equal(production.services.sandbox, null)
  t.equal(production.services.setup, null)
  const left = JSON.stringify([production.services.gateway, production.services.redis])
  t.notMatch(left, /sandbox|setup|gateway-secrets|redis-secrets/)
})

t.test('Redis keeps what it is given', async t => {
  const settings = new Map(
    textOf('deploy/redis/redis.conf')
      .split('\n')
      .map(line => line.split(' ', 2) as [string, string]),
  )
  t.match(Object.fromEntries(settings), { appendonly: 'yes', appendfsync: 'always', 'maxmemory-policy': 'noeviction' })
  t.match(services.redis.volumes, [/redis\.conf:ro$/, /:ro$/, 'redis-data:/data'])
})

t.test('a build sees what it needs, and nothing else', async t => {
  const patterns = textOf('.dockerignore')
    .split('\n')
    .filter(line => line !== '' && !line.startsWith('#'))
  const isSeen = (path: string) => {
    const isHit = (pattern: string) =>
      new RegExp(`^${pattern.replace(/[.]/g, '\\.').replace(/\*\*\/|\*/g, glob)}(/|$)`).test(path)
    const last = patterns.findLast(pattern => isHit(pattern.replace('!', '')))
    return last === undefined || last.startsWith('!')
  }
  const glob = (star: string) => (star === '*' ? '[^/]*' : '(.*/)?')
  const secret = ['.env', '.env.production', 'src/.env', 'secrets/encryption_keys', 'src/tls.key', 'routes/ca.pem']
  const needless = [
    '.git/config',
    'node_modules/x/index.js',
    'test/unit/x.test.ts',
    'journal/x.rotation',
    'dist/x.js',
    'a.log',
  ]
  for (const path of [...secret, ...needless]) t.notOk(isSeen(path), path)
  const copies = [...textOf('Dockerfile').matchAll(/^COPY (?!--from)(?:--\S+ )*(.+) \S+$/gm)]
  const sources = copies.flatMap(([, list = '']) => list.split(' '))
  t.ok(sources.length > 8)
  for (const path of sources) t.ok(isSeen(path), path)
})

t.test('the image runs as somebody who is nobody', async t => {
  const users = [...textOf('Dockerfile').matchAll(/^USER (.+)$/gm)].map(([, user]) => user)
  t.strictSame(users, ['1000:1000', '0:0', '1000:1000', '65534:65534'], 'root only installs what setup needs')
  t.match(textOf('Dockerfile'), /^HEALTHCHECK .*\["healthtap-gateway", "healthcheck"\]$/m)
})

t.test('Prometheus has the rules', async t => {
  const [{ rule_files: files }] = documentsIn('deploy/prometheus/prometheus.yml')
  t.strictSame(files, ['/etc/prometheus/alerts.yml'])
  t.ok(services.prometheus.volumes.includes('./deploy/prometheus:/etc/prometheus:ro'))
})
