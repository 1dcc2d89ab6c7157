/** What has to be true of the stack, one after the other: each begins where the one before has left it. */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { manual } from '../../test/support/manual.ts'
import type { Stack } from './compose.ts'
import { People, parsed } from './people.ts'
import { newTally, readUntil } from './readers.ts'

/** Returns what was seen, for the line that says so; nothing: that it is so is all. */
type Check = () => Promise<string | undefined>

const PROVISIONED = 12
const SERVICES = ['gateway', 'prometheus', 'redis', 'sandbox', 'setup']
const JOURNAL = '/var/lib/healthtap-gateway/journal'
const PROMETHEUS = 'http://prometheus:9090'

export function checksOf(stack: Stack): readonly (readonly [string, Check])[] {
  let people = new People(stack, '')

  async function comesUp() {
    await stack.up()
    const states = (await stack.containers()).map(({ Service, State, Health }) => `${Service} ${Health || State}`)
    assert.deepEqual(states.map(state => state.split(' ')[0]).sort(), SERVICES)
    return states.sort().join(', ')
  }

  async function walkThrough() {
    const key = (await stack.compose('run', '--rm', '-T', 'setup', 'key')).trim()
    assert.match(key, /^htgw_[\w-]{43}$/)
    people = new People(stack, key)
    for (let index = 0; index < PROVISIONED; index += 1) await people.provision(`person ${index}`)
    await people.signIn('ada')
    await people.signIn('grace')
    await people.allAreThere()
    return `${people.guids.length} grants, each read, renewed, and taken by the provider`
  }

  async function document() {
    const { paths } = parsed(await people.call('GET', '/openapi.json'), 200)
    assert.ok('/v1/users' in paths)
    assert.match((await people.call('GET', '/docs')).text, /swagger/i)
    return undefined
  }

  /** As the engine sees them, whatever the files say. */
  async function hardened() {
    for (const { ID, Service } of await stack.containers()) {
      const [{ Config, HostConfig, NetworkSettings }] = JSON.parse(await stack.engine('inspect', ID))
      assert.match(Config.User, /^[1-9]\d*:[1-9]\d*$/, `${Service}: its user is a number, and not 0`)
      assert.equal(HostConfig.ReadonlyRootfs, true, `${Service}: read-only`)
      assert.deepEqual(HostConfig.CapDrop, ['ALL'], `${Service}: no capabilities`)
      assert.deepEqual(HostConfig.SecurityOpt, ['no-new-privileges:true'], Service)
      assert.ok(HostConfig.Memory > 0 && HostConfig.PidsLimit > 0 && HostConfig.NanoCpus > 0, `${Service}: limits`)
      const published = Object.values(HostConfig.PortBindings ?? {}).flat() as { HostIp: string }[]
      assert.ok(
        published.every(({ HostIp }) => HostIp === '127.0.0.1'),
        `${Service}: published on this machine alone`,
      )
      if (Service === 'redis') assert.equal(Object.keys(NetworkSettings.Networks).length, 1, 'Redis is inside alone')
    }
    await assert.rejects(stack.compose('exec', '-T', 'gateway', 'sh', '-c', 'echo > /app/file'), /Read-only/)
    return undefined
  }

  async function signals() {
    const [gateway] = await stack.containers('gateway')
    await stack.engine('kill', '--signal', 'HUP', gateway?.ID ?? '')
    await stack.until('the settings are reloaded', async () => {
      return (await stack.compose('logs', '--no-log-prefix', 'gateway')).includes('"settings are reloaded"')
    })
    await stack.compose('stop', 'gateway')
    assert.equal((await stack.containers('gateway'))[0]?.ExitCode, 0)
    await stack.up()
    await people.allAreThere()
    return 'reloaded by SIGHUP, exit 0 by SIGTERM'
  }

  function crashed(service: string): Check {
    return async () => {
      await stack.crash(service)
      // Whoever depends on it may need a moment more, and says so.
      await people.settled()
      await people.allAreThere()
      return `${people.guids.length} of ${people.guids.length} grants are there`
    }
  }

  /** Everybody's token is being renewed when Redis dies: what the provider has answered by then must not get lost. */
  async function redisDiesUnderRenewals() {
    await people.refreshesTake(1_000)
    const refreshes = people.guids.map(guid => people.refresh(guid))
    await stack.until('the provider is asked', async () => (await people.delayedAtProvider()) >= people.guids.length)
    await stack.crash('redis')
    const statuses = (await Promise.all(refreshes)).map(({ status }) => status)
    await people.refreshesTake(0)
    await people.settled()
    await people.allAreThere()
    return `the renewals under way were answered ${[...new Set(statuses)].sort().join(', ')}`
  }

  /** The last refuge: Redis is away, the gateway is told to stop, and its container is thrown away. */
  async function journalOutlivesContainer() {
    const [guid = ''] = people.guids
    const { version } = parsed(await people.read(guid), 200)
    const [done, delayed] = [await people.refreshedAtProvider(), await people.delayedAtProvider()]
    await people.refreshesTake(5_000)
    const refresh = people.refresh(guid)
    await stack.until('the provider is asked', async () => (await people.delayedAtProvider()) > delayed)
    await stack.compose('kill', 'redis')
    await stack.until('the provider has answered', async () => (await people.refreshedAtProvider()) > done)
    await stack.compose('stop', 'gateway')
    assert.equal((await stack.containers('gateway'))[0]?.ExitCode, 0)
    await refresh
    await stack.compose('rm', '--force', 'gateway')
    const list = ['run', '--rm', '-T', '--no-deps', '--entrypoint', 'ls', 'gateway', JOURNAL]
    const entries = (await stack.compose(...list)).trim()
    assert.match(entries, /^\w+\.rotation$/, 'the pair is in the journal')
    await people.refreshesTake(0)
    await stack.up()
    assert.equal(parsed(await people.read(guid), 200).version, version + 1, 'the pair came out of the journal')
    await people.allAreThere()
    return 'one pair waited there'
  }

  /** As docs/operations.md says how: its whole disk is gone, and nobody was renewed since the snapshot. */
  async function comesBackFromSnapshot() {
    const [backUp = '', restore = ''] = manual('docs/operations.md').under('The same in the stack')
    const folder = await mkdtemp(join(tmpdir(), 'htgw-snapshot-'))
    try {
      await stack.shell(backUp, { BACKUPS: folder })
      await stack.compose('stop', 'gateway')
      await stack.compose('rm', '--stop', '--force', 'redis')
      await stack.removeVolume('redis-data')
      await stack.shell(restore, { BACKUPS: folder })
    } finally {
      await rm(folder, { recursive: true })
    }
    await people.allAreThere()
    return `${people.guids.length} of ${people.guids.length} grants are there`
  }

  async function watched(gateways: number) {
    const up = { health: 'up', lastError: '' }
    await stack.until('Prometheus sees every gateway', async () => {
      const { data } = parsed(await stack.ask('GET', `${PROMETHEUS}/api/v1/targets?state=active`), 200)
      const targets = data.activeTargets as { labels: { job: string }; health: string; lastError: string }[]
      const seen = targets.filter(({ labels, health }) => labels.job === 'gateway' && health === up.health)
      return seen.length === gateways && targets.every(({ lastError }) => lastError === up.lastError)
    })
    const { data } = parsed(await stack.ask('GET', `${PROMETHEUS}/api/v1/rules`), 200)
    const rules = data.groups.flatMap((group: { rules: unknown[] }) => group.rules) as { lastError?: string }[]
    assert.ok(rules.length > 0)
    assert.ok(rules.every(({ lastError = '' }) => lastError === ''))
    return `${gateways} of ${gateways} gateways, ${rules.length} rules`
  }

  async function threeGateways() {
    stack.scale()
    await stack.up()
    people.gateway = 'http://balancer:3000'
    assert.equal((await stack.containers('gateway')).length, 3)
    await people.allAreThere()
    return undefined
  }

  async function oneOfThreeDies() {
    const tally = newTally()
    await readUntil(people, tally, stack.crash('gateway', 1))
    assert.deepEqual(tally.failed, [])
    await people.allAreThere()
    return `${tally.read} reads meanwhile, none failed`
  }

  /** As docs/deploying.md says how. */
  async function replacedOneByOne() {
    const tally = newTally()
    const before = (await stack.containers('gateway')).map(({ ID }) => ID)
    await readUntil(people, tally, replaceEach(before))
    assert.deepEqual(tally.failed, [])
    const after = (await stack.containers('gateway')).map(({ ID }) => ID)
    assert.equal(after.length, 3)
    assert.ok(after.every(id => !before.includes(id)))
    await people.allAreThere()
    return `${tally.read} reads meanwhile, none failed`
  }

  async function replaceEach(ids: readonly string[]): Promise<void> {
    for (const id of ids) {
      await stack.engine('stop', id)
      await stack.engine('rm', id)
      await stack.up('--no-deps', '--no-recreate', 'gateway')
    }
  }

  async function replacedAtOnce() {
    await stack.up('--force-recreate')
    await people.allAreThere()
    return undefined
  }

  async function keepsSecrets() {
    const script = 'cat /secrets/*/* | grep -v BEGIN | grep -v END'
    const files = await stack.compose('run', '--rm', '-T', '--entrypoint', 'sh', 'setup', '-c', script)
    const secrets = files.split(/[\s:,"@]+/).filter(text => /^[\w+/=-]{32,}$/.test(text))
    const told: string[] = [await stack.compose('logs')]
    for (const { ID } of await stack.containers()) told.push(await stack.engine('inspect', ID))
    const leaked = secrets.filter(secret => told.some(text => text.includes(secret)))
    assert.ok(secrets.length >= 8)
    assert.equal(
      leaked.length,
      0,
      `${leaked.length} secrets stand in logs, or in what the engine tells of the containers`,
    )
    return `${secrets.length} secrets, none of them in logs or in docker inspect`
  }

  return [
    ['everything comes up healthy', comesUp],
    ['the walk-through', walkThrough],
    ['/openapi.json and /docs', document],
    ['every container is hardened', hardened],
    ['signals reach the gateway', signals],
    ['Prometheus scrapes and has its rules', () => watched(1)],
    ['the gateway dies', crashed('gateway')],
    ['Redis dies', crashed('redis')],
    ['Redis dies while everybody is being renewed', redisDiesUnderRenewals],
    ['the sandbox dies', crashed('sandbox')],
    ['Prometheus dies', crashed('prometheus')],
    ['Redis is away, and the gateway is thrown away: the journal outlives it', journalOutlivesContainer],
    ['Redis loses its disk, and comes back from a snapshot', comesBackFromSnapshot],
    ['three gateways behind a balancer', threeGateways],
    ['one of three dies', oneOfThreeDies],
    ['the balancer dies', crashed('balancer')],
    ['gateways are replaced one by one', replacedOneByOne],
    ['everything is replaced at once', replacedAtOnce],
    ['Prometheus finds all three', () => watched(3)],
    ['secrets stay where they are', keepsSecrets],
  ]
}
