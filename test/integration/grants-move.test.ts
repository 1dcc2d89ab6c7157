import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { exportGrants, undoExport } from '../../src/cli/grants/export.ts'
import { importGrants } from '../../src/cli/grants/import.ts'
import type { Terminal } from '../../src/cli/grants/terminal.ts'
import { newEncryptionKey } from '../../src/cli/keys.ts'
import { told } from '../contract/records.ts'
import {
  blindUser,
  elsewhere,
  exporting,
  filesOf,
  fillWith,
  grantsIn,
  importing,
  MOVE,
  nobodyListens,
  PASSPHRASE,
  run,
  storesOf,
  TAKE,
} from '../support/moving.ts'
import { answers, freePort, startRedis } from '../support/redis.ts'
import { startStack } from '../support/stack.ts'

const redis = await startRedis()
t.teardown(() => redis.stop())

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

  await blindUser(environment)
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
