import { hash } from 'node:crypto'

/** Fixed for good: another number would look for every grant in another place. */
const SHARD_COUNT = 64

/** After the prefix come a colon and the shard's tag. */
const GRANT_AT = ':{s000}'.length

/** What is kept as a sealed text, each under its own name. */
const RECORD_KINDS = ['grant', 'username', 'state', 'code', 'pause', 'census'] as const

export type RecordKind = (typeof RECORD_KINDS)[number]

export interface Keys {
  readonly shards: readonly string[]
  shardOf(name: string): string
  grant(guid: string): string
  /** The same, where the shard is known already. */
  grantIn(shard: string, guid: string): string
  /** The schedule of a shard: guid -> when somebody should next look at it. */
  due(shard: string): string
  username(username: string): string
  state(state: string): string
  code(exchangeKey: string): string
  pause(name: string): string
  census(name: string): string
  /** What was counted under a name in a window of time. */
  count(name: string, window: number): string
  /** Beside a record's key, on the same slot: the revision that the record had when it was removed. Names nobody. */
  gone(key: string): string
  /** Beside a grant's key, on the same slot: that a pair is retired. The keyed name holds no guid and no token. */
  retired(key: string, keyedName: string): string
  /** On the same slot as a record's key: where its copy lies once `grants export` has taken it out. */
  exported(key: string): string
  /** The key of the record whose copy lies under `key`; null: it is no such copy. */
  exportedFrom(key: string): string | null
  /** A key without the prefix: what a record is called in any deployment; and back. */
  nameOf(key: string): string
  named(name: string): string
  /** How far each audit stream has come. */
  readonly auditHeads: string
  /** A pattern that all of these fit, for SCAN; other things may fit it, too. */
  readonly pattern: string
  /** Which record lies under a key; null: none of ours, or something else than a record. */
  recordUnder(key: string): { readonly kind: RecordKind; readonly name: string } | null
  /** The shard that one of these keys lies in. */
  shardUnder(key: string): string
  /** Whose grant lies under a key; null: it is no grant. */
  guidUnder(key: string): string | null
  /** What gateways call their connections. */
  readonly connectionName: string
  /** Where replicas tell each other what was written; no key, but a channel. */
  readonly channel: string
}

/** The names of everything in Redis. `{sNNN}` is a hash tag: what belongs to a grant lies on one slot. */
export function createKeys(prefix: string): Keys {
  const shards = Array.from({ length: SHARD_COUNT }, (_, index) => `{s${String(index).padStart(3, '0')}}`)

  function shardOf(name: string): string {
    return shards[hash('sha256', name, 'buffer').readUInt32BE(0) % SHARD_COUNT] ?? ''
  }

  function key(shard: string, kind: RecordKind, name: string): string {
    return `${prefix}:${shard}:${kind}:${name}`
  }

  function shardUnder(key: string): string {
    return key.slice(prefix.length + 1, prefix.length + GRANT_AT)
  }

  return {
    shards,
    shardOf,
    grant: guid => key(shardOf(guid), 'grant', guid),
    grantIn: (shard, guid) => key(shard, 'grant', guid),
    due: shard => `${prefix}:${shard}:due`,
    username: username => key(shardOf(username), 'username', hash('sha256', username, 'base64url')),
    state: state => key(shardOf(state), 'state', state),
    code: exchangeKey => key(shardOf(exchangeKey), 'code', exchangeKey),
    pause: name => key(shardOf(name), 'pause', name),
    census: name => key(shardOf(name), 'census', name),
    count: (name, window) => `${prefix}:${shardOf(name)}:count:${name}:${window}`,
    gone: key => `${prefix}:${shardUnder(key)}:gone:${hash('sha256', key, 'base64url')}`,
    retired: (key, keyedName) => `${prefix}:${shardUnder(key)}:retired:${keyedName}`,
    exported: key => `${prefix}:${key.slice(prefix.length + 1).replace(/^(\{s\d{3}\}):/, '$1:exported:')}`,
    exportedFrom(key) {
      const [, shard, rest] = /^(\{s\d{3}\}):exported:(.+)$/.exec(key.slice(prefix.length + 1)) ?? []
      return key.startsWith(`${prefix}:`) && rest !== undefined ? `${prefix}:${shard}:${rest}` : null
    },
    nameOf: key => key.slice(prefix.length + 1),
    named: name => `${prefix}:${name}`,
    auditHeads: `${prefix}:audit:heads`,
    pattern: `${prefix}:{s*`,
    recordUnder(key) {
      if (!key.startsWith(`${prefix}:`)) return null
      const [, word, name] = /^\{s\d{3}\}:([a-z]+):(.+)$/.exec(key.slice(prefix.length + 1)) ?? []
      const kind = RECORD_KINDS.find(each => each === word)
      return kind === undefined || name === undefined ? null : { kind, name }
    },
    shardUnder,
    guidUnder(key) {
      const start = prefix.length + GRANT_AT
      return key.startsWith(':grant:', start) ? key.slice(start + ':grant:'.length) : null
    },
    connectionName: `${prefix}:gateway`,
    channel: `${prefix}:settled`,
  }
}
