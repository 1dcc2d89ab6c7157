/**
 * A rolling upgrade under load: `npm run upgrade -- --from <commit>`. Three gateways of that commit are replaced, one after the
 * other, by gateways of this checkout, with every kind of call throughout and both versions side by side for `--seconds` each
 * time. Ends with the figures, and exits 1 where a request failed, a grant was lost or a deleted one lived on. The earlier
 * commit is built with the packages of this checkout.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { startDriven } from '../sandbox/driver.ts'
import { newCaller, newEncryptionKey } from '../src/cli/keys.ts'
import { Balancer } from '../test/support/balancer.ts'
import { type GatewayProcess, startGateway } from './gateway-process.ts'
import { LoneRedis } from './lone-redis.ts'
import { end, endAll, print, ready } from './processes.ts'
import { Load } from './upgrade/load.ts'

const GATEWAYS = 3
const LIFETIME_SECONDS = 10

const { values } = parseArgs({
  options: {
    from: { type: 'string' },
    seconds: { type: 'string', default: '8' },
    rotation: { type: 'string', default: 'both' },
  },
})
const { from } = values
if (from === undefined) throw new Error('npm run upgrade -- --from <commit>')
const phaseMs = Number(values.seconds) * 1_000
const root = join(import.meta.dirname, '..')

const earlier = mkdtempSync(join(root, '.upgrade-'))
try {
  const archive = execFileSync('git', ['archive', from], { cwd: root, maxBuffer: 2 ** 30 })
  execFileSync('tar', ['-x', '-C', earlier], { input: archive })
  symlinkSync(join(root, 'node_modules'), join(earlier, 'node_modules'))
  execFileSync(process.execPath, [join('scripts', 'build.js')], { cwd: earlier, stdio: 'inherit' })
  const rotations = values.rotation === 'both' ? (['instant', 'on_use'] as const) : ([values.rotation] as const)
  for (const rotation of rotations) await upgrade(rotation === 'on_use' ? 'on_use' : 'instant')
} finally {
  await endAll()
  rmSync(earlier, { recursive: true, force: true })
}
process.exit()

async function upgrade(rotation: 'instant' | 'on_use'): Promise<void> {
  const { driver, close } = await startDriven({ rotation, tokenLifetimeSeconds: LIFETIME_SECONDS })
  const redis = await LoneRedis.start()
  const { apiKey, entry } = newCaller('upgrade', ['*'])
  const shared = {
    sandbox: driver.options,
    keys: newEncryptionKey(),
    callers: JSON.stringify([entry]),
    environment: { SHUTDOWN_DELAY_SECONDS: '2', HEALTHTAP_TIMEOUT_MS: '10000' },
  }
  const events: Record<string, number> = {}
  const start = async (directory: string) => {
    const urls = { redis: `redis://127.0.0.1:${redis.port}`, api: driver.options.url }
    const program = join(directory, 'dist/src/main.js')
    const gateway = await startGateway({ ...shared, program }, urls, line => {
      const { msg } = JSON.parse(line) as { msg: string }
      if (/^(grant|pair|internal)\.|^(error|warn)/.test(msg)) events[msg] = (events[msg] ?? 0) + 1
    })
    await ready(gateway.url)
    return gateway
  }
  const gateways: GatewayProcess[] = []
  for (let index = 0; index < GATEWAYS; index += 1) gateways.push(await start(earlier))
  const balancer = new Balancer(apiKey, () => gateways.map(({ url }) => url))
  await balancer.look()

  const load = await Load.begin(balancer, driver, LIFETIME_SECONDS)
  await sleep(phaseMs)
  for (const old of [...gateways]) {
    gateways.push(await start(root))
    await sleep(phaseMs)
    await end(old.child, 'SIGTERM')
    gateways.splice(gateways.indexOf(old), 1)
  }
  await sleep(phaseMs)
  await load.end()
  const wrong = await load.judge()
  const { answered } = balancer
  print(
    `${rotation}: ${JSON.stringify({ answered, calls: load.calls, failed: balancer.failures.length, events }, null, 2)}`,
  )
  for (const line of wrong.slice(0, 30)) print(`WRONG ${line}`)
  if (wrong.length > 0) process.exitCode = 1
  for (const { child } of gateways) await end(child, 'SIGTERM')
  await redis.end('SIGTERM')
  await close()
}
