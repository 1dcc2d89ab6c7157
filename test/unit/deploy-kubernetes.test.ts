/** The manifests: that a server would take them, that they fit together, and that they fit the gateway. */
import { readdirSync } from 'node:fs'
import t from 'tap'
import { graceMs } from '../../src/cli/serve.ts'
import { configOf, type Data, documentsIn, filesNamedIn, isSetting, textOf } from '../support/deploy.ts'
import { misfitsOf } from '../support/kubernetes-schema.ts'

const FOLDER = 'deploy/kubernetes'
const applied = readdirSync(new URL(`../../${FOLDER}`, import.meta.url))
  .filter(name => name.endsWith('.yaml'))
  .sort()
  .flatMap(name => documentsIn(`${FOLDER}/${name}`))
const [secret] = documentsIn(`${FOLDER}/examples/secret.yaml`)

function theOne(kind: string): Data {
  const [found, ...more] = applied.filter(manifest => manifest.kind === kind)
  if (found === undefined || more.length > 0) throw new Error(`there should be one ${kind}`)
  return found
}

const deployment = theOne('Deployment')
const pod = deployment.spec.template.spec
const [container] = pod.containers
const settings = theOne('ConfigMap').data
const ports: { name: string; containerPort: number }[] = container.ports

t.test('every field is one that Kubernetes knows, of its type', async t => {
  t.strictSame(new Set(misfitsOf([...applied, secret])), new Set(['']))
})

t.test('a field that is misspelt, misplaced or of another type does not pass', async t => {
  const podIn = (manifest: Data) => manifest.spec.template.spec
  const faults: [string, string, (manifest: Data) => unknown][] = [
    ['readinesProbe', 'Deployment', it => Object.assign(podIn(it).containers[0], { readinesProbe: {} })],
    ['runAsNonroot', 'Deployment', it => Object.assign(podIn(it).securityContext, { runAsNonroot: true })],
    ['allowPrivilegeEscalation', 'Deployment', it => Object.assign(podIn(it), { allowPrivilegeEscalation: false })],
    ['replica', 'Deployment', it => Object.assign(it.spec, { replica: 3 })],
    ["Type 'string' is not assignable", 'Deployment', it => Object.assign(it.spec, { replicas: '3' })],
    ['apps/v2 Deployment', 'Deployment', it => Object.assign(it, { apiVersion: 'apps/v2' })],
    ['egresss', 'NetworkPolicy', it => Object.assign(it.spec, { egresss: [] })],
    ['podSelecter', 'NetworkPolicy', it => Object.assign(it.spec.ingress[0].from[0], { podSelecter: {} })],
    ['minAvailble', 'PodDisruptionBudget', it => Object.assign(it.spec, { minAvailble: 1 })],
    ['maxReplicas', 'HorizontalPodAutoscaler', it => Reflect.deleteProperty(it.spec, 'maxReplicas')],
  ]
  const changed = faults.map(([, kind, change]) => {
    const manifest = structuredClone(theOne(kind))
    change(manifest)
    return manifest
  })
  const misfits = misfitsOf(changed)
  for (const [index, [named]] of faults.entries()) t.match(misfits[index], named, named)
})

t.test('everything is in one place, and selects the pods of the deployment', async t => {
  const { labels } = deployment.spec.template.metadata
  const selected = (selector: Record<string, string>) =>
    Object.keys(selector).length > 0 && Object.entries(selector).every(([name, value]) => labels[name] === value)
  const namespace = theOne('Namespace').metadata.name
  for (const { kind, metadata } of [...applied, secret]) {
    if (kind !== 'Namespace') t.equal(metadata.namespace, namespace, `${kind} ${metadata.name}`)
  }
  const selectors = [
    deployment.spec.selector.matchLabels,
    theOne('PodDisruptionBudget').spec.selector.matchLabels,
    theOne('NetworkPolicy').spec.podSelector.matchLabels,
    ...pod.topologySpreadConstraints.map((constraint: Data) => constraint.labelSelector.matchLabels),
    ...applied.filter(({ kind }) => kind === 'Service').map(({ spec }) => spec.selector),
  ]
  for (const selector of selectors) t.ok(selected(selector), JSON.stringify(selector))
  t.equal(pod.serviceAccountName, theOne('ServiceAccount').metadata.name)
  const { scaleTargetRef, minReplicas } = theOne('HorizontalPodAutoscaler').spec
  t.strictSame(scaleTargetRef, { apiVersion: 'apps/v1', kind: 'Deployment', name: deployment.metadata.name })
  t.equal(minReplicas, deployment.spec.replicas)
  t.equal(deployment.spec.replicas, 3)
})

t.test('ports are those that the gateway listens on, and whoever names one means one of them', async t => {
  const listening = { api: settings.PORT, public: settings.PUBLIC_PORT, metrics: settings.METRICS_PORT }
  t.strictSame(Object.fromEntries(ports.map(({ name, containerPort }) => [name, String(containerPort)])), listening)
  const named = [
    ...[container.startupProbe, container.livenessProbe, container.readinessProbe].map(({ httpGet }) => httpGet.port),
    ...applied
      .filter(({ kind }) => kind === 'Service')
      .flatMap(({ spec }) => spec.ports.map((port: Data) => port.targetPort)),
    ...theOne('NetworkPolicy').spec.ingress.flatMap((rule: Data) => rule.ports.map((port: Data) => port.port)),
  ]
  for (const name of named) t.ok(name in listening, name)
  for (const rule of theOne('NetworkPolicy').spec.ingress) t.ok(rule.from.length > 0, 'nobody comes in unnamed')
  t.match(
    [container.startupProbe, container.livenessProbe],
    [{ httpGet: { path: '/health/live', port: 'metrics' } }, { httpGet: { path: '/health/live', port: 'metrics' } }],
  )
  t.match(container.readinessProbe, { httpGet: { path: '/health/ready', port: 'metrics' } })
})

t.test('a gateway takes the settings, knows all of them, and finds each secret', async t => {
  t.match(configOf(settings), { port: 3000, publicPort: 3002, metricsPort: 9464 })
  for (const name of Object.keys(settings)) t.ok(isSetting(name), name)
  t.strictSame(filesNamedIn(settings), Object.keys(secret.stringData).sort())
  t.strictSame(container.envFrom, [{ configMapRef: { name: theOne('ConfigMap').metadata.name } }])
  const mounts = new Map<string, string>(container.volumeMounts.map((mount: Data) => [mount.name, mount.mountPath]))
  const volumes = new Map<string, Data>(pod.volumes.map((volume: Data) => [volume.name, volume]))
  t.strictSame([...mounts.keys()].sort(), [...volumes.keys()].sort())
  t.equal(volumes.get('secrets').secret.secretName, secret.metadata.name)
  for (const [name, file] of Object.entries(settings)) {
    if (name.endsWith('_FILE')) t.match(file, new RegExp(`^${mounts.get('secrets')}/\\w+$`), name)
  }
  t.match(textOf('Dockerfile'), `JOURNAL_DIR=${mounts.get('journal')}\n`)
  t.notMatch(Object.values(secret.stringData).join('\n'), /[0-9a-f]{32}|[\w+/]{43}|htgw_/, 'an example has no secret')
})

t.test('the pod is as careful as "restricted" wants it, and more', async t => {
  t.match(theOne('Namespace').metadata.labels, { 'pod-security.kubernetes.io/enforce': 'restricted' })
  t.match(pod.securityContext, { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } })
  t.match(container.securityContext, {
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ['ALL'] },
  })
  t.match(textOf('Dockerfile'), `USER ${pod.securityContext.runAsUser}:${pod.securityContext.runAsGroup}\n`)
  t.match(pod, { automountServiceAccountToken: false, enableServiceLinks: false })
  t.notOk(pod.hostNetwork ?? pod.hostPID ?? pod.hostIPC ?? pod.initContainers)
  t.match(container.resources, { requests: { cpu: /^\d+m$/, memory: /^\d+Mi$/ }, limits: { memory: /^\d+Mi$/ } })
  t.match(container.image, `:${JSON.parse(textOf('package.json')).version}`)
})

t.test('nobody is killed before what is under way has ended, and not everybody is taken away at once', async t => {
  const config = configOf(settings)
  t.ok(pod.terminationGracePeriodSeconds * 1000 > graceMs(config))
  const { periodSeconds, failureThreshold } = container.readinessProbe
  t.ok(config.shutdownDelaySeconds >= 5 && periodSeconds * failureThreshold <= 10)
  t.strictSame(deployment.spec.strategy.rollingUpdate, { maxUnavailable: 0, maxSurge: 1 })
  t.match(theOne('PodDisruptionBudget').spec, { maxUnavailable: 1, unhealthyPodEvictionPolicy: 'IfHealthyBudget' })
})
