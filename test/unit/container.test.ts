/** The file that `grants export` writes: it opens as it was written, with its passphrase, or not at all; and can be gone on with. */
import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type ContainerFault, createContainer, openContainer } from '../../src/handover/container.ts'
import { fromPlain, toPlain } from '../../src/handover/records.ts'
import { Secret } from '../../src/ports/secret.ts'
import { grantOf, SECRETS, told } from '../contract/records.ts'

const PASSPHRASE = new Secret('correct horse battery staple')
const PREFIX_BYTES = 33

function pathFor(t: Test): string {
  const dir = mkdtempSync(join(tmpdir(), 'htgw-container-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  return join(dir, 'grants')
}

async function write(path: string, chunks: readonly unknown[], last?: unknown): Promise<void> {
  const writer = await createContainer(path, PASSPHRASE, { kind: 'test' })
  for (const chunk of chunks) await writer.append(chunk)
  if (last !== undefined) await writer.finish(last)
  await writer.close()
}

async function read(path: string, passphrase = PASSPHRASE) {
  const reader = await openContainer(path, passphrase, 'r')
  const chunks: unknown[] = []
  try {
    for await (const chunk of reader.chunks()) chunks.push(chunk)
    return { first: reader.first, chunks, last: reader.last() }
  } finally {
    await reader.close()
  }
}

/** That it does not work, and for which reason. */
async function fails(t: Test, work: Promise<unknown>, fault: ContainerFault, message?: string): Promise<void> {
  const error = await work.then(
    () => null,
    (error: unknown) => error,
  )
  t.match(error, { name: 'ContainerError', fault }, message ?? fault)
}

/** Where each frame begins, and the end. */
function framesOf(bytes: Buffer): readonly number[] {
  const places = [bytes.indexOf('\n') + 1]
  for (let at = places[0] ?? 0; at < bytes.length; at = places.at(-1) ?? 0) {
    places.push(at + PREFIX_BYTES + bytes.readUInt32BE(at + 1))
  }
  return places
}

t.test('what goes in comes out, and cannot be read from outside', async t => {
  const path = pathFor(t)
  const record = { name: 'ada', record: toPlain(grantOf('ada', 1)) }
  await write(path, [[record], [{ name: 'bob' }]], { grants: 2 })
  t.equal(statSync(path).mode & 0o777, 0o600, 'for its owner alone')
  const { chunks, first, last } = await read(path)
  t.strictSame([first, last], [{ kind: 'test' }, { grants: 2 }])
  const [[ada]] = chunks as [[{ record: unknown }]]
  t.strictSame(told(fromPlain(ada.record)), told(grantOf('ada', 1)))
  t.strictSame(chunks[1], [{ name: 'bob' }])
  const text = readFileSync(path, 'latin1')
  for (const secret of Object.values(SECRETS)) t.notOk(text.includes(secret))
  t.notOk(text.includes('ada'))
  await t.rejects(createContainer(path, PASSPHRASE, {}), { code: 'EEXIST' })
})

t.test('another passphrase; the same one, typed on another keyboard', async t => {
  const path = pathFor(t)
  const writer = await createContainer(path, new Secret('caf\u00e9 caf\u00e9 caf\u00e9'), {})
  await writer.close()
  await fails(t, read(path), 'passphrase')
  t.match(await read(path, new Secret('cafe\u0301 cafe\u0301 cafe\u0301')), { chunks: [] })
})

t.test('no frame can be changed, moved, left out, or cut off unseen', async t => {
  const path = pathFor(t)
  await write(path, ['one', 'two'], 'end')
  const good = readFileSync(path)
  const [first = 0, one = 0, two = 0, end = 0, whole = 0] = framesOf(good)
  t.equal(whole, good.length)
  const withBytes = async (bytes: Buffer) => {
    writeFileSync(path, bytes)
    return await read(path)
  }
  const flipped = (at: number) => {
    const bytes = Buffer.from(good)
    bytes[at] = (bytes[at] ?? 0) ^ 1
    return bytes
  }
  for (const at of [one, one + 5, one + 20, one + PREFIX_BYTES]) await fails(t, withBytes(flipped(at)), 'altered')
  await fails(t, withBytes(flipped(end)), 'altered', 'the last one does not pass for another')
  await fails(t, withBytes(flipped(first + PREFIX_BYTES)), 'passphrase')
  const salt = good.indexOf('"salt":"') + 8
  const other = Buffer.from(good)
  other[salt] = good[salt] === 65 ? 66 : 65
  await fails(t, withBytes(other), 'passphrase')
  const parts = [good.subarray(0, one), good.subarray(two, end), good.subarray(one, two), good.subarray(end)]
  await fails(t, withBytes(Buffer.concat(parts)), 'altered', 'swapped')
  await fails(t, withBytes(Buffer.concat([good.subarray(0, one), good.subarray(two)])), 'altered', 'left out')
  await fails(t, withBytes(Buffer.concat([good, good.subarray(end)])), 'altered', 'something behind the end')
  t.match(await withBytes(good.subarray(0, end)), { chunks: ['one', 'two'], last: undefined })
  t.match(await withBytes(good.subarray(0, end - 1)), { chunks: ['one'], last: undefined })
  t.match(await withBytes(good.subarray(0, two + 3)), { chunks: ['one'], last: undefined })
})

t.test('what is no such file', async t => {
  const path = pathFor(t)
  for (const text of ['', 'nonsense', '{}\n', '{"format":"healthtap-gateway-grants/1"}\n']) {
    writeFileSync(path, text)
    await fails(t, read(path), 'not_ours', text)
  }
  const header = (n: unknown) => {
    const kdf = { name: 'scrypt', n, r: 8, p: 1, salt: 'AAAA' }
    return `${JSON.stringify({ format: 'healthtap-gateway-grants/1', cipher: 'aes-256-gcm', kdf })}\n`
  }
  for (const n of [2 ** 30, 3, 'x', -1]) {
    writeFileSync(path, header(n))
    await fails(t, read(path), 'not_ours', `it does not ask for as much memory as it likes: ${n}`)
  }
  await t.rejects(read(join(path, 'nowhere')), { code: 'ENOTDIR' })
})

t.test('a file whose writer was killed is gone on with, from the last frame that is whole', async t => {
  const path = pathFor(t)
  await write(path, ['one', 'two'])
  truncateSync(path, statSync(path).size - 1)
  const resumed = await openContainer(path, PASSPHRASE, 'r+')
  const before: unknown[] = []
  for await (const chunk of resumed.chunks()) before.push(chunk)
  t.strictSame(before, ['one'])
  const writer = await resumed.resume()
  await writer.append('two again')
  await writer.finish('end')
  await writer.close()
  t.match(await read(path), { chunks: ['one', 'two again'], last: 'end' })
  const finished = await openContainer(path, PASSPHRASE, 'r+')
  for await (const _ of finished.chunks());
  await fails(t, finished.resume(), 'finished')
  await finished.close()
})
