import { chmodSync, readdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { createCodec } from '../../src/store/codec.ts'
import { createSealer } from '../../src/store/sealing.ts'
import { createFileJournal } from '../../src/system/journal.ts'
import { createWorld } from '../support/broker.ts'
import { newKey } from '../support/keys.ts'

const codec = createCodec(createSealer([newKey('k1')]))

function journalIn(directory: string) {
  return createFileJournal(directory, codec, () => {})
}

t.test('a journal is made where there is none, for its owner alone, and is empty', async t => {
  const directory = join(t.testdir(), 'a', 'journal')
  const journal = journalIn(directory)
  await journal.prepare()
  t.strictSame(readdirSync(directory), [])
  t.strictSame(await journal.entries(), [])
})

t.test('gateways that share a directory do not get in the way of each other when they try it', async t => {
  const directory = join(t.testdir(), 'journal')
  const tries = async () => {
    for (let times = 0; times < 100; times += 1) await journalIn(directory).prepare()
  }
  await Promise.all(Array.from({ length: 5 }, tries))
  t.strictSame(readdirSync(directory), [])
  t.equal(await journalIn(directory).count(), 0)
})

t.test('one that cannot be read or written is not an empty one: no gateway starts with it', async t => {
  const directory = join(t.testdir({ file: '' }), 'file')
  chmodSync(directory, 0o400)
  const journal = journalIn(directory)
  await t.rejects(journal.entries(), { code: 'ENOTDIR' })
  await t.rejects(journal.prepare(), { code: 'EEXIST' })
  const world = createWorld()
  Object.assign(world.journal, { prepare: () => journal.prepare() })
  await t.rejects(world.replica().start(), { code: 'EEXIST' })
})

t.test('replicas that share a directory may start at the same moment', async t => {
  const directory = t.testdir()
  await Promise.all(Array.from({ length: 50 }, () => journalIn(directory).prepare()))
  t.strictSame(readdirSync(directory), [])
})

t.test('an entry that another replica has dropped meanwhile is none, and none that cannot be opened', async t => {
  const directory = t.testdir({ 'torn.rotation': 'nonsense' })
  symlinkSync('gone', join(directory, 'gone.rotation'))
  const unreadable: string[] = []
  t.strictSame(await createFileJournal(directory, codec, file => unreadable.push(file)).entries(), [])
  t.strictSame(unreadable, ['torn.rotation'])
})
