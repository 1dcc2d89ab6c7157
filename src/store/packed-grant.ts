/**
 * A grant as one packed value. In front, in clear, stands the little that scripts make figures of; behind it everything else,
 * as MessagePack, sealed as a whole for its place and its front: so it opens as it was written, or not at all.
 *
 *   offset  bytes
 *        0      1  the form: 2. A record of earlier versions is JSON, and begins with `{`.
 *        1      1  its status, by its place in STATUSES
 *        2      1  1 where an attempt or an error stands in it
 *        3      6  when its access token expires; all times are milliseconds, the highest byte first
 *        9      6  when it is due; NEVER: never by itself
 *       15      6  when it was renewed last; NEVER: never
 *       21      1  the code of its last error, by its place in CODES; 0: there is none, or none that is listed
 *       22      2  that error's attempts, 65,535 at most
 *       24      1  the length of the key's id
 *       25      n  the key's id
 *   25 + n         nonce, tag, and what is sealed
 *
 * `sketch_grants.lua` reads offsets 1 to 23. Lists are only ever added to: what was written by a place is read by it.
 */
import { Decoder, decode, Encoder } from '@msgpack/msgpack'
import type { ProblemCode } from '../errors.ts'
import type { Attempt, Grant, GrantOrigin, GrantStatus, LastError, Leftover } from '../ports/records.ts'
import { Secret } from '../ports/secret.ts'
import { RecordUnreadable } from '../ports/store.ts'
import type { Sealer } from './sealing.ts'

const PACKED = 2

export const STATUSES: readonly GrantStatus[] = ['active', 'in_doubt', 'reauthorization_required', 'revoking']
const ORIGINS: readonly GrantOrigin[] = ['authorization_code', 'provisioning', 'import']
/** The codes that a renewal, or a revocation, may end with. */
export const CODES: readonly (ProblemCode | null)[] = [
  null,
  'reauthorization_required',
  'client_misconfigured',
  'provider_unavailable',
  'provider_response_invalid',
  'outcome_unknown',
]
const NEVER = 2 ** 48 - 1
const MOST_ATTEMPTS = 65_535
const FRONT_BYTES = 25

/** What is sealed. Times are told from when the pair was issued: small numbers take few bytes. */
type Rest = [
  guid: Packed,
  username: string | null,
  password: Packed | null,
  origin: number,
  scope: string,
  version: number,
  accessToken: Packed,
  refreshToken: Packed,
  authorizedAt: number | null,
  authorizedFingerprint: Packed | null,
  issuedAtMs: number,
  refreshTokenExpiresAt: number | null,
  refreshDueAt: number,
  attempt: [owner: string, startedAt: number, leaseUntil: number, refreshTokenFingerprint: Packed] | null,
  doubtUntil: number | null,
  lastReadAt: number | null,
  lastError: [code: ProblemCode, at: number, attempts: number] | null,
  createdAt: number,
  updatedAt: number,
  /** Absent: there are none. */
  leftovers?: PackedLeftover[],
]

type PackedLeftover = [
  accessToken: Packed,
  refreshToken: Packed,
  accessTokenExpiresAt: number,
  successor: Packed | null,
  isOver: boolean,
  since: number,
]

/** Made once: each has a buffer, which costs as much as what is done in it. */
const encoder = new Encoder()
const decoder = new Decoder()

/** Tokens are hexadecimal as a rule, and take half as many bytes then. */
type Packed = string | Uint8Array

export function isPacked(bytes: Buffer): boolean {
  return bytes[0] === PACKED
}

/** `place`: where it will stand; it has to be the same for opening. */
export function packGrant(sealer: Sealer, grant: Grant, place: string): Buffer {
  const keyId = sealer.sealingKeyId()
  const front = Buffer.alloc(FRONT_BYTES + keyId.length)
  front[0] = PACKED
  front[1] = STATUSES.indexOf(grant.status)
  front[2] = grant.attempt === null && grant.lastError === null ? 0 : 1
  writeTime(front, 3, grant.accessTokenExpiresAtMs)
  writeTime(front, 9, grant.dueAtMs)
  writeTime(front, 15, grant.lastRefreshedAtMs)
  front[21] = Math.max(0, CODES.indexOf(grant.lastError?.code ?? null))
  front.writeUInt16BE(Math.min(MOST_ATTEMPTS, grant.lastError?.attempts ?? 0), 22)
  front[24] = keyId.length
  front.write(keyId, FRONT_BYTES, 'latin1')
  const plain = encoder.encodeSharedRef(restOf(grant))
  try {
    return Buffer.concat([front, sealer.sealBytes(plain, contextOf(place, front))])
  } finally {
    plain.fill(0)
  }
}

/** Throws `RecordUnreadable`. */
export function unpackGrant(sealer: Sealer, bytes: Buffer, place: string): Grant {
  const keyId = packedKeyId(bytes)
  const front = bytes.subarray(0, FRONT_BYTES + keyId.length)
  const opened = sealer.openBytes(keyId, bytes.subarray(front.length), contextOf(place, front))
  const grant = grantFrom(front, decoder.decode(opened) as Rest)
  return opened.includes(BYTE_ORDER_MARK) ? { ...grant, username: usernameIn(opened) } : grant
}

/** The library takes it away from the beginning of longer texts. */
const BYTE_ORDER_MARK = Buffer.from('\ufeff')

function usernameIn(opened: Buffer): string | null {
  const [, username] = decode(opened, { rawStrings: true }) as [unknown, Uint8Array | null]
  return username === null ? null : Buffer.from(username).toString()
}

const KEY_ID = /^[A-Za-z0-9_-]{1,32}$/

/** The id of the key that it says it is sealed with. Throws `RecordUnreadable` where it says none. */
export function packedKeyId(bytes: Buffer): string {
  const length = bytes[24] ?? 0
  const keyId = bytes.toString('latin1', FRONT_BYTES, FRONT_BYTES + length)
  if (keyId.length === length && KEY_ID.test(keyId)) return keyId
  throw new RecordUnreadable('altered')
}

function contextOf(place: string, front: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${place}\0`), front])
}

function restOf(grant: Grant): Rest {
  const { attempt, issuedAtMs, lastError, pair } = grant
  const since = (atMs: number) => atMs - issuedAtMs
  const sinceOrNull = (atMs: number | null | undefined) => (atMs == null ? null : since(atMs))
  return [
    packed(grant.guid),
    grant.username,
    grant.password === null ? null : packed(grant.password.reveal()),
    ORIGINS.indexOf(grant.origin),
    grant.scope,
    grant.version,
    packed(pair.accessToken.reveal()),
    packed(pair.refreshToken.reveal()),
    sinceOrNull(grant.authorizedAtMs),
    grant.authorizedFingerprint === undefined ? null : packed(grant.authorizedFingerprint),
    issuedAtMs,
    sinceOrNull(grant.refreshTokenExpiresAtMs),
    since(grant.refreshDueAtMs),
    attempt && [
      attempt.owner,
      since(attempt.startedAtMs),
      since(attempt.leaseUntilMs),
      packed(attempt.refreshTokenFingerprint),
    ],
    sinceOrNull(grant.doubtUntilMs),
    sinceOrNull(grant.lastReadAtMs),
    lastError && [lastError.code, since(lastError.atMs), lastError.attempts],
    since(grant.createdAtMs),
    since(grant.updatedAtMs),
    ...packedLeftovers(grant.leftovers ?? [], since),
  ]
}

/** The last item, or none: most grants have no leftovers, and need no byte for that. */
function packedLeftovers(leftovers: readonly Leftover[], since: (atMs: number) => number): [] | [PackedLeftover[]] {
  if (leftovers.length === 0) return []
  return [
    leftovers.map(({ pair, accessTokenExpiresAtMs, successor, isOver, sinceMs }) => [
      packed(pair.accessToken.reveal()),
      packed(pair.refreshToken.reveal()),
      since(accessTokenExpiresAtMs),
      successor === null ? null : packed(successor.reveal()),
      isOver,
      since(sinceMs),
    ]),
  ]
}

function grantFrom(front: Buffer, rest: Rest): Grant {
  const [guid, username, password, origin, scope, version, accessToken, refreshToken, ...times] = rest
  const [authorizedAt, authorizedFingerprint, issuedAtMs, refreshTokenExpiresAt, refreshDueAt, ...later] = times
  const [attempt, doubtUntil, lastReadAt, lastError, createdAt, updatedAt, leftovers] = later
  const at = (since: number) => issuedAtMs + since
  const atOrNull = (since: number | null) => (since === null ? null : at(since))
  return {
    guid: unpacked(guid),
    username,
    password: password === null ? null : new Secret(unpacked(password)),
    origin: ORIGINS[origin] as GrantOrigin,
    scope,
    status: STATUSES[front[1] ?? 0] as GrantStatus,
    version,
    pair: { accessToken: new Secret(unpacked(accessToken)), refreshToken: new Secret(unpacked(refreshToken)) },
    ...(authorizedAt === null ? {} : { authorizedAtMs: at(authorizedAt) }),
    ...(authorizedFingerprint === null ? {} : { authorizedFingerprint: unpacked(authorizedFingerprint) }),
    issuedAtMs,
    accessTokenExpiresAtMs: front.readUIntBE(3, 6),
    refreshTokenExpiresAtMs: atOrNull(refreshTokenExpiresAt),
    refreshDueAtMs: at(refreshDueAt),
    dueAtMs: readTime(front, 9),
    attempt: attempt && attemptFrom(attempt, at),
    doubtUntilMs: atOrNull(doubtUntil),
    lastRefreshedAtMs: readTime(front, 15),
    ...(lastReadAt === null ? {} : { lastReadAtMs: at(lastReadAt) }),
    lastError: lastError && lastErrorFrom(lastError, at),
    createdAtMs: at(createdAt),
    updatedAtMs: at(updatedAt),
    ...(leftovers === undefined ? {} : { leftovers: leftovers.map(leftover => leftoverFrom(leftover, at)) }),
  }
}

function leftoverFrom(
  [accessToken, refreshToken, expiresAt, successor, isOver, sinceWhen]: PackedLeftover,
  at: (since: number) => number,
): Leftover {
  return {
    pair: { accessToken: new Secret(unpacked(accessToken)), refreshToken: new Secret(unpacked(refreshToken)) },
    accessTokenExpiresAtMs: at(expiresAt),
    successor: successor === null ? null : new Secret(unpacked(successor)),
    isOver,
    sinceMs: at(sinceWhen),
  }
}

function attemptFrom(
  [owner, startedAt, leaseUntil, print]: NonNullable<Rest[13]>,
  at: (since: number) => number,
): Attempt {
  return { owner, startedAtMs: at(startedAt), leaseUntilMs: at(leaseUntil), refreshTokenFingerprint: unpacked(print) }
}

function lastErrorFrom([code, atSince, attempts]: NonNullable<Rest[16]>, at: (since: number) => number): LastError {
  return { code, atMs: at(atSince), attempts }
}

function packed(text: string): Packed {
  return /^(?:[0-9a-f]{2})+$/.test(text) ? Buffer.from(text, 'hex') : text
}

function unpacked(packed: Packed): string {
  return typeof packed === 'string'
    ? packed
    : Buffer.from(packed.buffer, packed.byteOffset, packed.length).toString('hex')
}

/** A time that does not fit is a wrong one; that is no reason to lose a pair. */
function writeTime(front: Buffer, offset: number, atMs: number | null): void {
  front.writeUIntBE(atMs === null ? NEVER : Math.min(NEVER - 1, Math.max(0, Math.trunc(atMs))), offset, 6)
}

function readTime(front: Buffer, offset: number): number | null {
  const atMs = front.readUIntBE(offset, 6)
  return atMs === NEVER ? null : atMs
}
