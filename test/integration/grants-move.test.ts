/** `grants export` and `import`: people move from one deployment to another, and no refresh token is spent twice by it. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { exportGrants, undoExport } from '../../src/cli/grants/export.ts'
import { importGrants } from '../../src/cli/grants/import.ts'
import type { Terminal } from '../../src/cli/grants/terminal.ts'
import { newEncryptionKey } from '../../src/cli/keys.ts'
import type { Environment } from '../../src/config.ts'
import type { Grant } from '../../src/ports/records.ts'
import type { Stored } from '../../src/ports/store.ts'
import { encryptionKeys } from '../../src/settings.ts'
import { systemClock } from '../../src/system/clock.ts'
import { guidOf, told } from '../contract/records.ts'
import { openRedisStores } from '../contract/redis-stores.ts'
import { knownGrant } from '../support/key-drill.ts'
import { answers, freePort, startRedis } from '../support/redis.ts'
import { type Stack, startStack } from '../support/stack.ts'
import { startProxy } from '../support/tcp-proxy.ts'

const redis = await startRedis()
t.teardown(() => redis.stop())

const PASSPHRASE = 'correct horse battery staple'

interface Files {
  readonly file: string
  readonly passphraseFile: string
}

function filesOf(t: Test, passphrase = PASSPHRASE): Files {
  const dir = mkdtempSync(join(tmpdir(), 'htgw-move-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  const passphraseFile = join(dir, 'passphrase')
  writeFileSync(passphraseFile, `${passphrase}\n`)
  return { file: join(dir, 'grants.export'), passphraseFile }
}

/** Settings of another deployment for the same app: its own prefix, keys and journal. */
function elsewhere(t: Test, { environment }: Stack, more: Record<string, string> = {}): Record<string, string> {
  const journal = mkdtempSync(join(tmpdir(), 'htgw-journal-'))
  t.teardown(() => rmSync(journal, { recursive: true, force: true }))
  const prefix = `t${process.pid}.${Math.random().toString(36).slice(2)}`
  return { ...environment, REDIS_PREFIX: prefix, ENCRYPTION_KEYS: newEncryptionKey(), JOURNAL_DIR: journal, ...more }
}

function storesOf(t: Test, environment: Environment) {
  const keys = encryptionKeys(environment.ENCRYPTION_KEYS ?? '')
  const server = { url: environment.REDIS_URL ?? '' }
  const stores = openRedisStores(server, systemClock, { prefix: environment.REDIS_PREFIX ?? '', keys })
  let isClosed = false
  const close = async () => {
    if (!isClosed) await stores.close()
    isClosed = true
  }
  t.teardown(close)
  return { ...stores, close }
}

/** Puts these grants there; what has opened the store for it is gone when this resolves, as a gateway would be that was stopped. */
async function fillWith(t: Test, environment: Environment, guids: readonly string[]): Promise<void> {
  const { close, grants } = storesOf(t, environment)
  await Promise.all(guids.map(guid => grants.write(guid, 0, knownGrant(guid, Date.now()))))
  await close()
  await nobodyListens(t, environment)
}

/** Redis notices a moment later that somebody has gone. */
async function nobodyListens(t: Test, { REDIS_PREFIX: prefix }: Environment): Promise<void> {
  const raw = new Redis(redis.url)
  while (((await raw.call('PUBSUB', 'NUMSUB', `${prefix}:settled`)) as unknown[])[1] !== 0) await raw.ping()
  raw.disconnect()
  t.ok(true, 'nobody listens')
}

/** Of Redis: it may not see who listens. */
async function blindUser(): Promise<void> {
  const raw = new Redis(redis.url)
  await raw.call('ACL', 'SETUSER', 'blind', 'reset', 'on', '>password', '~*', '&*', '+@all', '-pubsub|numsub')
  raw.disconnect()
}

async function grantsIn(t: Test, environment: Environment): Promise<ReadonlyMap<string, Grant>> {
  const { close, grants } = storesOf(t, environment)
  const found = new Map<string, Grant>()
  let cursor: string | undefined
  do {
    const page = await grants.list({ limit: 500, ...(cursor === undefined ? {} : { cursor }) })
    for (const grant of page?.grants ?? []) found.set(grant.guid, grant)
    cursor = page?.nextCursor ?? undefined
  } while (cursor !== undefined)
  await close()
  await nobodyListens(t, environment)
  return found
}

function seat(more: Partial<Terminal> = {}) {
  const [out, err]: [string[], string[]] = [[], []]
  const terminal: Terminal = {
    out: { write: text => out.push(text) },
    err: { write: text => err.push(text) },
    now: Date.now,
    ask: null,
    ...more,
  }
  return { terminal, printed: () => out.join(''), said: () => err.join('') }
}

const MOVE = { copy: false, gatewaysStopped: false }
const TAKE = { sourceIsGone: false, partial: false }

/** What it prints; or how it fails. */
async function run(work: (terminal: Terminal) => Promise<number>, more: Partial<Terminal> = {}): Promise<string> {
  const { printed, terminal } = seat(more)
  return await work(terminal).then(
    code => `${code} ${printed()}`,
    (error: Error) => `${error.name}: ${error.message}`,
  )
}

const exporting = ({ file, passphraseFile }: Files, environment: Environment, more = {}, terminal = {}) =>
  run(to => exportGrants(file, { ...MOVE, passphraseFile, ...more }, to, environment), terminal)
const importing = ({ file, passphraseFile }: Files, environment: Environment, more = {}, terminal = {}) =>
  run(to => importGrants(file, { ...TAKE, passphraseFile, ...more }, to, environment), terminal)

t.test('people move: their tokens, versions, names and passwords, into gateways that run', async t => {
  const source = await startStack(t, redis.url, { rotation: 'instant' })
  const target = elsewhere(t, source)
  const old = await source.gateway()
  const made = []
  for (const username of ['ada', 'bob', 'carol']) made.push((await old.send('POST', '/v1/users', { username })).body)
  const [ada, bob] = made
  await old.send('POST', `/v1/grants/${bob.guid}/refresh`, { version: 1 })
  await old.close()
  await nobodyListens(t, source.environment)
  const before = await grantsIn(t, source.environment)

  const files = filesOf(t)
  t.match(
    await exporting(files, source.environment),
    /^0 3 grants are moved to .*\nNext, with the settings of the other/,
  )
  const text = readFileSync(files.file, 'latin1')
  for (const { access_token: token, guid } of made) t.notOk(text.includes(token) || text.includes(guid))
  t.equal((await grantsIn(t, source.environment)).size, 0)
  const again = await source.gateway()
  t.match(await again.get(`/v1/grants/${ada.guid}/token`), { status: 404 }, 'the old deployment renews nobody any more')

  const running = await source.gateway(target)
  t.match(await importing(files, target), /^0 3 grants are imported\.\n$/)
  for (const { guid } of made) {
    const { body } = await running.get(`/v1/grants/${guid}/token`)
    t.equal(body.access_token, before.get(guid)?.pair.accessToken.reveal(), 'the same token, under the same version')
    t.equal(body.version, guid === bob.guid ? 2 : 1)
    const refreshed = await running.send('POST', `/v1/grants/${guid}/refresh`, { version: body.version })
    t.match(refreshed, { status: 200, body: { version: body.version + 1 } })
  }
  t.match(await running.send('POST', '/v1/users', { username: 'ada' }), { status: 200, body: { guid: ada.guid } })
  t.match((await running.get('/v1/grants?username=bob')).body, { items: [{ guid: bob.guid, origin: 'provisioning' }] })
  const after = (await source.sandbox.counts()).grants
  for (const { guid } of made) t.match(after[guid], { refreshes_refused: 0, revocations: 0 })
  const { grants } = storesOf(t, target)
  const kept = (await grants.read(ada.guid))?.record
  t.equal(kept?.password?.reveal(), before.get(ada.guid)?.password?.reveal())
  t.match(
    await importing(files, target),
    /^0 0 grants are imported, 3 were there already\.\n$/,
    'once more does no harm',
  )
})

t.test('what keeps an export from beginning', async t => {
  const stack = await startStack(t, redis.url)
  const { environment } = stack
  const files = filesOf(t)
  const running = await stack.gateway()
  await answers(redis.port, `PUBSUB NUMSUB ${environment.REDIS_PREFIX}:settled`, /\r\n:1\r\n/)
  t.match(
    await exporting(files, environment),
    /^NotDone: 1 connected to this Redis as gateways are\. Stop every gateway/,
  )
  await running.close()
  await fillWith(t, environment, ['ada'])
  t.match(await exporting(filesOf(t, 'too short'), environment), /^AskedWrongly: A passphrase has to have at least 12/)
  t.match(
    await exporting({ ...files, passphraseFile: '/nowhere' }, environment),
    /^AskedWrongly: .*cannot be read.*ENOENT/,
  )
  const nobody = { file: files.file, passphraseFile: undefined as unknown as string }
  t.match(await exporting(nobody, environment), /^AskedWrongly: Nobody is here to type a passphrase/)
  const away = { ...environment, REDIS_URL: `redis://127.0.0.1:${await freePort()}` }
  t.match(await exporting(files, away), /^StoreUnavailable: /)

  writeFileSync(join(environment.JOURNAL_DIR ?? '', 'x.rotation'), 'half a renewal')
  t.match(await exporting(files, environment), /^NotDone: 1 renewals wait in JOURNAL_DIR/)
  rmSync(join(environment.JOURNAL_DIR ?? '', 'x.rotation'))

  await blindUser()
  const blind = { ...environment, REDIS_URL: redis.url.replace('redis://', 'redis://blind:password@') }
  t.match(await exporting(files, blind), /^NotDone: Redis does not let us see whether gateways run/)
  t.notOk(existsSync(files.file), 'and no file was made')
  t.equal((await grantsIn(t, environment)).size, 1)
  t.match(await exporting(files, blind, { gatewaysStopped: true }), /^0 1 grants are moved/)
  t.match(await exporting(files, environment), /^ContainerError: This file is finished already/)
})

t.test('what is typed at a terminal is asked for twice, and has to be the same', async t => {
  const { environment } = await startStack(t, redis.url)
  await fillWith(t, environment, ['ada'])
  const { file } = filesOf(t)
  const typing = (...answers: string[]) => ({
    ask: async (question: string, options?: { hidden: boolean }) => {
      t.ok(options?.hidden, question)
      return answers.shift() ?? ''
    },
  })
  const typed = (terminal: Partial<Terminal>) => run(to => exportGrants(file, MOVE, to, environment), terminal)
  t.match(await typed(typing(PASSPHRASE, 'correct horse')), /^AskedWrongly: These were two different/)
  t.match(await typed(typing(PASSPHRASE, PASSPHRASE)), /^0 1 grants are moved/)
  const taken = await run(to => importGrants(file, TAKE, to, environment), typing(PASSPHRASE))
  t.match(taken, /^0 1 grants are imported/, 'once is enough to open it')
})

t.test('what keeps an import from beginning: nothing is written', async t => {
  const stack = await startStack(t, redis.url)
  await fillWith(t, stack.environment, ['ada', 'bob'])
  const target = elsewhere(t, stack)
  const files = filesOf(t)
  await exporting(files, stack.environment)
  const wrong = { ...files, passphraseFile: filesOf(t, 'another passphrase').passphraseFile }
  t.match(await importing(wrong, target), /^ContainerError: The passphrase is not the one/)
  t.match(await importing(files, { ...target, HEALTHTAP_APP_ID: 'another' }), /^NotDone: .* another HEALTHTAP_APP_ID/)
  const whole = readFileSync(files.file)
  const changed = Buffer.from(whole)
  changed[whole.length - 100] = (whole[whole.length - 100] ?? 0) ^ 1
  writeFileSync(files.file, changed)
  t.match(await importing(files, target), /^ContainerError: The file was altered/)
  writeFileSync(files.file, whole.subarray(0, whole.length - 1))
  t.match(await importing(files, target), /^NotDone: .* is not finished/)
  t.equal((await grantsIn(t, target)).size, 0)
  t.match(await importing(files, target, { partial: true }), /^0 2 grants are imported/)
})

t.test('a copy leaves people where they are, and is imported only when they are nowhere else', async t => {
  const stack = await startStack(t, redis.url)
  const gateway = await stack.gateway()
  const { guid } = (await gateway.send('POST', '/v1/users', { username: 'ada' })).body
  const target = elsewhere(t, stack)
  const files = filesOf(t)
  t.match(await exporting(files, stack.environment, { copy: true }), /^0 1 grants are copied to .* stay here, too/)
  t.match(await gateway.get(`/v1/grants/${guid}/token`), { status: 200 })
  t.match(await importing(files, target), /^AskedWrongly: .* is a copy.* --source-is-gone/)
  await gateway.close()
  t.match(await importing(files, target, { sourceIsGone: true }), /^0 1 grants are imported/)
  const running = await stack.gateway(target)
  t.match(await running.send('POST', `/v1/grants/${guid}/refresh`, { version: 1 }), {
    status: 200,
    body: { version: 2 },
  })
})

t.test('who is there already stays as they are, and is told', async t => {
  const stack = await startStack(t, redis.url)
  await fillWith(t, stack.environment, ['ada', 'bob'])
  const target = elsewhere(t, stack)
  const files = filesOf(t)
  await exporting(files, stack.environment)
  await fillWith(t, target, ['ada'])
  t.match(await importing(files, target), /^1 1 grants are imported\.\n1 are left as they stand here, .*: grant ada\n$/)
  const found = await grantsIn(t, target)
  t.ok((found.get('ada')?.createdAtMs ?? 0) > (found.get('bob')?.createdAtMs ?? 0), 'ada has authorized again since')
})

t.test('a renewal that is under way is waited for', async t => {
  const stack = await startStack(t, redis.url)
  const { environment } = stack
  const { close, grants } = storesOf(t, environment)
  const attempt = { owner: 'x', startedAtMs: 0, leaseUntilMs: 30_000, refreshTokenFingerprint: '' }
  await grants.write('ada', 0, { ...knownGrant('ada', 1), attempt })
  await grants.write('bob', 0, knownGrant('bob', 1))
  await close()
  await nobodyListens(t, environment)
  // Its lease ends after a few looks at the clock.
  let nowMs = 0
  const { printed, said, terminal } = seat({
    now: () => {
      nowMs += 6_000
      return nowMs
    },
  })
  const { file, passphraseFile } = filesOf(t)
  t.equal(await exportGrants(file, { ...MOVE, passphraseFile }, terminal, environment), 0)
  t.match(said(), /^1 of 2 grants, waiting for 1 that are being renewed$/m)
  t.match(printed(), /^2 grants are moved/)
})

t.test('what changes after it was written, and before it is taken out, is written again', async t => {
  const stack = await startStack(t, redis.url)
  const { environment } = stack
  await fillWith(t, environment, ['ada', 'bob'])
  const { close, grants } = storesOf(t, environment)
  const { record, revision } = (await grants.read('ada')) as Stored<Grant>
  let isChanged = false
  const port = await startProxy(t, redis.port, {
    async passes(chunk) {
      if (isChanged || !/evalsha/i.test(chunk.toString('latin1'))) return true
      isChanged = true
      t.match(await grants.write('ada', revision, { ...record, version: 2 }), { ok: true })
      return true
    },
  })
  const files = filesOf(t)
  const through = { ...environment, REDIS_URL: `redis://blind:password@127.0.0.1:${port}` }
  await blindUser()
  t.match(await exporting(files, through, { gatewaysStopped: true }), /^0 2 grants are moved/)
  await close()
  const target = elsewhere(t, stack)
  t.match(await importing(files, target), /^0 2 grants are imported/)
  const found = await grantsIn(t, target)
  t.strictSame([found.get('ada')?.version, found.get('bob')?.version], [2, 1])
})

t.test('records that do not open stay, and are told', async t => {
  const stack = await startStack(t, redis.url)
  const { environment } = stack
  await fillWith(t, environment, ['ada'])
  await fillWith(t, { ...environment, ENCRYPTION_KEYS: newEncryptionKey() }, ['bob'])
  t.match(
    await exporting(filesOf(t), environment),
    /^1 1 grants are moved(.|\n)*\n1 cannot be opened, .*: grant bob\. See/,
  )
})

t.test('undo: asks first, and puts everything back as it was', async t => {
  const stack = await startStack(t, redis.url)
  const { environment } = stack
  await fillWith(t, environment, ['ada', 'bob'])
  const before = told([...(await grantsIn(t, environment)).values()])
  await exporting(filesOf(t), environment)
  const undo = (yes: boolean, ask: Terminal['ask']) => run(to => undoExport({ yes }, to, environment), { ask })
  t.match(await undo(false, null), /^AskedWrongly: .*--yes/)
  t.equal(await undo(false, async () => 'n'), '1 ')
  t.equal((await grantsIn(t, environment)).size, 0)
  t.equal(await undo(false, async () => 'y'), '0 2 records are back in service.\n')
  t.strictSame(told([...(await grantsIn(t, environment)).values()]), before)
  t.equal(await undo(true, null), '0 0 records are back in service.\n')
})

/**
 * Runs a command against a Redis that kills it as soon as `isTime`, on its way to a script, which is carried out or not;
 * resolves when it is dead.
 */
async function killedHalfWay(
  t: Test,
  environment: Environment,
  args: readonly string[],
  isTime: () => boolean,
  isCarriedOut: boolean,
): Promise<void> {
  let child: ReturnType<typeof spawn> | undefined
  const port = await startProxy(t, redis.port, {
    passes(chunk) {
      if (!/evalsha/i.test(chunk.toString('latin1')) || !isTime()) return true
      child?.kill('SIGKILL')
      return isCarriedOut
    },
  })
  const settings = { ...environment, PATH: process.env.PATH, REDIS_URL: `redis://127.0.0.1:${port}` }
  const argv = ['-i', ...Object.entries(settings).map(pair => pair.join('='))]
  child = spawn('env', [...argv, process.execPath, '--import', 'tsx', 'src/main.ts', 'grants', ...args])
  t.strictSame(await once(child, 'exit'), [null, 'SIGKILL'])
}

const MANY = Array.from({ length: 1_500 }, (_, index) => guidOf(index))

t.test(
  'an export that is killed half-way is gone on with, and an import as well: nobody is lost, nobody is there twice',
  async t => {
    const stack = await startStack(t, redis.url)
    const { environment } = stack
    await fillWith(t, environment, MANY)
    const files = filesOf(t)
    const { file, passphraseFile } = files
    const argv = ['export', file, '--passphrase-file', passphraseFile]
    const isLarger = (bytes: number) => () => existsSync(file) && statSync(file).size > bytes
    const isThere = async () => (await grantsIn(t, environment)).size

    await killedHalfWay(t, environment, argv, isLarger(200_000), false)
    const left = await isThere()
    t.ok(left > 0 && left < MANY.length, `${left} are not out yet`)
    const target = elsewhere(t, stack)
    t.match(await importing(files, target), /^NotDone: .* is not finished: run grants export with it again/)

    const size = statSync(file).size
    await killedHalfWay(t, environment, argv, isLarger(size + 200_000), true)
    t.ok((await isThere()) < left, 'the second run has gone on from there')
    const { printed, said, terminal } = seat()
    t.equal(await exportGrants(file, { ...MOVE, passphraseFile }, terminal, environment), 0)
    t.match(said(), /was begun before, and is gone on with: \d+ grants are in it/)
    t.match(printed(), /^1500 grants are moved/)
    t.equal(await isThere(), 0)

    let scripts = 0
    const isTime = () => {
      scripts += 1
      return scripts > 5
    }
    await killedHalfWay(t, target, ['import', file, '--passphrase-file', passphraseFile], isTime, true)
    const some = (await grantsIn(t, target)).size
    t.ok(some > 0 && some < MANY.length, `${some} are in already`)
    t.equal(
      await importing(files, target),
      `0 ${MANY.length - some} grants are imported, ${some} were there already.\n`,
    )
    t.strictSame([...(await grantsIn(t, target)).keys()].sort(), [...MANY].sort())
  },
)

t.test('on a terminal a bar shows how far it is, and is wiped away', async t => {
  const stack = await startStack(t, redis.url)
  await fillWith(t, stack.environment, MANY.slice(0, 300))
  const target = elsewhere(t, stack)
  const { file, passphraseFile } = filesOf(t)
  const onTerminal = () => {
    const written: string[] = []
    let nowMs = Date.now()
    const now = () => {
      nowMs += 200
      return nowMs
    }
    return { written, ...seat({ now, err: { isTTY: true, columns: 60, write: text => written.push(text) } }) }
  }
  const out = onTerminal()
  await exportGrants(file, { ...MOVE, passphraseFile }, out.terminal, stack.environment)
  const wiped = '\r\x1b[K'
  t.equal(out.written.at(-2), `${wiped}[${'#'.repeat(30)}]100%  300 of 300 grants`)
  t.equal(out.written.at(-1), wiped)
  const into = onTerminal()
  await importGrants(file, { ...TAKE, passphraseFile }, into.terminal, target)
  t.match(into.written[0]?.replace(wiped, ''), /^\[#*-+\] +\d+% {2}\d+ of 300 records$/)
  t.equal(into.written.at(-2), `${wiped}[${'#'.repeat(30)}]100%  300 of 300 records`)
  t.equal(into.written.at(-1), wiped)
})
