/**
 * A file that a passphrase opens: chunks of JSON, each on the disk before the next begins, so that a file whose writer was
 * killed can be gone on with.
 *
 *   line 1   the header, JSON: how the key is made from the passphrase (scrypt, RFC 7914)
 *   then     frames: 1 byte kind · 4 bytes length · 12 bytes nonce · 16 bytes tag · ciphertext (AES-256-GCM)
 *
 * The first frame says what the file holds, the last one that nothing is missing. Each is authenticated with the header,
 * its number and its kind: none can be changed, moved, left out or taken from another file unseen, and an end that was cut
 * off is noticed.
 */
import { createCipheriv, createDecipheriv, createHash, randomBytes, scrypt } from 'node:crypto'
import { type FileHandle, open } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { promisify } from 'node:util'
import type { Secret } from '../ports/secret.ts'
import { syncDirectory } from '../system/directories.ts'

export type ContainerFault = 'not_ours' | 'passphrase' | 'altered' | 'finished'

const TEXTS: Readonly<Record<ContainerFault, string>> = {
  not_ours: 'This is no file that grants export has written.',
  passphrase: 'The passphrase is not the one it was written with, or the beginning of the file was altered.',
  altered: 'The file was altered: it does not open from here on.',
  finished: 'This file is finished already: name another one.',
}

export class ContainerError extends Error {
  override readonly name = 'ContainerError'
  readonly fault: ContainerFault

  constructor(fault: ContainerFault) {
    super(TEXTS[fault])
    this.fault = fault
  }
}

export interface ContainerWriter {
  /** Durable when it resolves. */
  append(chunk: unknown): Promise<void>
  /** The last one. */
  finish(chunk: unknown): Promise<void>
  close(): Promise<void>
}

export interface ContainerReader {
  /** What the first frame says. */
  readonly first: unknown
  /** The chunks, in order. Once it is through, `last` tells how it ended. */
  chunks(): AsyncGenerator<unknown>
  /** The last chunk; undefined: there is none, the writer was stopped before. Only once `chunks` is through. */
  last(): unknown
  /** Goes on behind what was read, once `chunks` is through. Throws `ContainerError` where the file is finished. */
  resume(): Promise<ContainerWriter>
  close(): Promise<void>
}

const MORE = 0
const LAST = 1
const NONCE_BYTES = 12
const TAG_BYTES = 16
const KEY_BYTES = 32
const PREFIX_BYTES = 1 + 4 + NONCE_BYTES + TAG_BYTES
const LARGEST_FRAME_BYTES = 64 * 1024 * 1024
const LONGEST_HEADER_BYTES = 1024
const CIPHER = 'aes-256-gcm'

/** 128 MB and half a second for each guess. */
const COST = { n: 2 ** 17, r: 8, p: 1 }
/** A file that asks for more than this is not ours. */
const MOST_COST = { n: 2 ** 20, r: 16, p: 4 }

interface Sealing {
  readonly key: Buffer
  readonly header: Buffer
}

/** A new file, for its owner alone; rejects with EEXIST where there is one. */
export async function createContainer(path: string, passphrase: Secret, first: unknown): Promise<ContainerWriter> {
  const salt = randomBytes(16)
  const kdf = { name: 'scrypt', ...COST, salt: salt.toString('base64') }
  const header = Buffer.from(`${JSON.stringify({ format: 'healthtap-gateway-grants/1', cipher: CIPHER, kdf })}\n`)
  const key = await keyFrom(passphrase, salt, COST)
  const file = await open(path, 'wx', 0o600)
  const sealing = { key, header: digestOf(header) }
  const beginning = Buffer.concat([header, sealed(sealing, 0, MORE, first)])
  await file.writeFile(beginning)
  await file.sync()
  await syncDirectory(dirname(resolve(path)))
  return writerOf(file, sealing, 1, beginning.length)
}

/** `r+`: to be gone on with. Throws `ContainerError`, and what keeps the file from being opened. */
export async function openContainer(path: string, passphrase: Secret, flags: 'r' | 'r+'): Promise<ContainerReader> {
  const file = await open(path, flags)
  try {
    return await readerOf(file, passphrase)
  } catch (error) {
    await file.close()
    throw error
  }
}

async function readerOf(file: FileHandle, passphrase: Secret): Promise<ContainerReader> {
  const header = await headerOf(file)
  const { cost, salt } = parseHeader(header)
  const sealing = { key: await keyFrom(passphrase, salt, cost), header: digestOf(header) }
  let position = header.length
  let index = 0
  let last: unknown

  /** undefined: the file ends here, or in the middle of a frame. */
  async function next(): Promise<{ kind: number; chunk: unknown } | undefined> {
    const prefix = await readExactly(file, position, PREFIX_BYTES)
    if (prefix === null) return undefined
    const length = prefix.readUInt32BE(1)
    if (length > LARGEST_FRAME_BYTES) throw new ContainerError('altered')
    const ciphertext = await readExactly(file, position + PREFIX_BYTES, length)
    if (ciphertext === null) return undefined
    const kind = prefix.readUInt8(0)
    const chunk = unsealed(sealing, index, prefix, ciphertext)
    position += PREFIX_BYTES + length
    index += 1
    return { kind, chunk }
  }

  const begin = await next()
  if (begin === undefined) throw new ContainerError('not_ours')
  return {
    first: begin.chunk,
    async *chunks() {
      for (let frame = await next(); frame !== undefined; frame = await next()) {
        if (frame.kind === LAST) {
          last = frame.chunk
          if ((await readExactly(file, position, 1)) !== null) throw new ContainerError('altered')
          return
        }
        yield frame.chunk
      }
    },
    last: () => last,
    async resume() {
      if (last !== undefined) throw new ContainerError('finished')
      // Half a frame, if there is one, is not missed: what it held was not acted upon.
      await file.truncate(position)
      return writerOf(file, sealing, index, position)
    },
    close: () => file.close(),
  }
}

function writerOf(file: FileHandle, sealing: Sealing, firstIndex: number, from: number): ContainerWriter {
  let index = firstIndex
  let position = from

  async function write(kind: number, chunk: unknown): Promise<void> {
    const frame = sealed(sealing, index, kind, chunk)
    let written = 0
    while (written < frame.length) {
      written += (await file.write(frame, written, frame.length - written, position + written)).bytesWritten
    }
    await file.sync()
    position += frame.length
    index += 1
  }

  return { append: chunk => write(MORE, chunk), finish: chunk => write(LAST, chunk), close: () => file.close() }
}

function sealed(sealing: Sealing, index: number, kind: number, chunk: unknown): Buffer {
  const prefix = Buffer.alloc(PREFIX_BYTES)
  const nonce = randomBytes(NONCE_BYTES)
  const cipher = createCipheriv(CIPHER, sealing.key, nonce).setAAD(additionalData(sealing, index, kind))
  const ciphertext = Buffer.concat([cipher.update(JSON.stringify(chunk), 'utf8'), cipher.final()])
  if (ciphertext.length > LARGEST_FRAME_BYTES) throw new RangeError('a chunk is too large')
  prefix.writeUInt8(kind, 0)
  prefix.writeUInt32BE(ciphertext.length, 1)
  nonce.copy(prefix, 5)
  cipher.getAuthTag().copy(prefix, 5 + NONCE_BYTES)
  return Buffer.concat([prefix, ciphertext])
}

function unsealed(sealing: Sealing, index: number, prefix: Buffer, ciphertext: Buffer): unknown {
  const nonce = prefix.subarray(5, 5 + NONCE_BYTES)
  try {
    const decipher = createDecipheriv(CIPHER, sealing.key, nonce, { authTagLength: TAG_BYTES })
    decipher.setAAD(additionalData(sealing, index, prefix.readUInt8(0))).setAuthTag(prefix.subarray(5 + NONCE_BYTES))
    return JSON.parse(Buffer.concat([decipher.update(ciphertext), decipher.final()]).toString('utf8'))
  } catch {
    throw new ContainerError(index === 0 ? 'passphrase' : 'altered')
  }
}

function additionalData({ header }: Sealing, index: number, kind: number): Buffer {
  const place = Buffer.alloc(9)
  place.writeBigUInt64BE(BigInt(index))
  place.writeUInt8(kind, 8)
  return Buffer.concat([header, place])
}

function digestOf(header: Buffer): Buffer {
  return createHash('sha256').update(header).digest()
}

async function headerOf(file: FileHandle): Promise<Buffer> {
  const bytes = Buffer.alloc(LONGEST_HEADER_BYTES)
  const { bytesRead } = await file.read(bytes, 0, bytes.length, 0)
  const end = bytes.subarray(0, bytesRead).indexOf('\n')
  if (end < 0) throw new ContainerError('not_ours')
  return bytes.subarray(0, end + 1)
}

function parseHeader(header: Buffer): { cost: typeof COST; salt: Buffer } {
  try {
    const { cipher, format, kdf } = JSON.parse(header.toString())
    const { n, r, p } = kdf
    const isBounded = [n, r, p].every(Number.isSafeInteger) && n <= MOST_COST.n && r <= MOST_COST.r && p <= MOST_COST.p
    const isKnown = format === 'healthtap-gateway-grants/1' && cipher === CIPHER && kdf.name === 'scrypt'
    if (isKnown && isBounded) return { cost: { n, r, p }, salt: Buffer.from(kdf.salt, 'base64') }
  } catch {}
  throw new ContainerError('not_ours')
}

const derive = promisify<string, Buffer, number, object, Buffer>(scrypt)

/** Composed (NFC), so that the same letters are the same key however a keyboard makes them. */
async function keyFrom(passphrase: Secret, salt: Buffer, { n, r, p }: typeof COST): Promise<Buffer> {
  const options = { N: n, r, p, maxmem: 2 * 128 * n * r }
  try {
    return await derive(passphrase.reveal().normalize('NFC'), salt, KEY_BYTES, options)
  } catch {
    // Parameters that are no powers of two, and the like.
    throw new ContainerError('not_ours')
  }
}

/** null: the file ends before. */
async function readExactly(file: FileHandle, position: number, length: number): Promise<Buffer | null> {
  const bytes = Buffer.alloc(length)
  let read = 0
  while (read < length) {
    const { bytesRead } = await file.read(bytes, read, length - read, position + read)
    if (bytesRead === 0) return null
    read += bytesRead
  }
  return bytes
}
