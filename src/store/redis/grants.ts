import { createHash } from 'node:crypto'
import type { Grant, GrantStatus } from '../../ports/records.ts'
import {
  type GrantPage,
  type GrantStore,
  REMOVAL_REMEMBERED_MS,
  RETIRED_FOR_MS,
  RecordUnreadable,
  type Stored,
  type Written,
} from '../../ports/store.ts'
import { nextRevision } from '../revision.ts'
import type { Sealer } from '../sealing.ts'
import type { Keys } from './keys.ts'
import { formatRecord, parseRecord, parseStanding, type RedisShared } from './records.ts'
import { ask } from './scripts.ts'

/** How many names one step of a listing asks Redis for. */
const SCAN_COUNT = '200'

/** How many more than its share of what is wanted a shard is asked for: most often it then has told enough. */
const MORE_THAN_SHARE = 2

interface GrantStoreOptions extends RedisShared {
  readonly keys: Keys
  readonly sealer: Pick<Sealer, 'keyedNames'>
  /** A grant's record was met that does not open. */
  readonly onUnreadable: (error: RecordUnreadable) => void
}

export function createRedisGrantStore(options: GrantStoreOptions): GrantStore {
  const { client, clock, form, keys, notices, scripts, sealer } = options

  function parse(guid: string, stored: Buffer, key: string): Stored<Grant> {
    return tellingOf(guid, () => parseRecord<Grant>(form, key, stored))
  }

  function standingOf(guid: string, stored: Buffer, key: string): Stored<Grant | null> | null {
    return tellingOf(guid, () => parseStanding<Grant>(form, key, stored))
  }

  function tellingOf<T>(guid: string, open: () => T): T {
    try {
      return open()
    } catch (error) {
      if (!(error instanceof RecordUnreadable)) throw error
      const unreadable = error.ofGrant(guid)
      options.onUnreadable(unreadable)
      throw unreadable
    }
  }

  /** One record that does not open must not keep the others from being served: its own reader is told. */
  function parseIfReadable(guid: string, stored: Buffer | null | undefined, key: string): Stored<Grant>[] {
    if (stored == null) return []
    try {
      return [parse(guid, stored, key)]
    } catch (error) {
      if (error instanceof RecordUnreadable) return []
      throw error
    }
  }

  async function dueIn(shard: string, nowMs: number, limit: number): Promise<[DueInShard]> {
    const flat = await ask(client, 'zrangebyscore', () =>
      client.zrangebyscore(keys.due(shard), '-inf', nowMs, 'WITHSCORES', 'LIMIT', 0, limit),
    )
    const due = Array.from({ length: flat.length / 2 }, (_, index) => {
      return { shard, guid: flat[2 * index] ?? '', atMs: Number(flat[2 * index + 1]) }
    })
    return [{ shard, due }]
  }

  /**
   * The soonest of all shards together. Each is asked for somewhat more than its share first; then those that may have more of
   * them, for as many as are wanted: that is rare, since guids lie evenly.
   */
  async function soonestDue(nowMs: number, limit: number): Promise<readonly Due[]> {
    const share = Math.min(limit, 2 * Math.ceil(limit / keys.shards.length) + MORE_THAN_SHARE)
    const first = await whatAnswers(keys.shards.map(shard => dueIn(shard, nowMs, share)))
    const soonest = soonestOf(first, limit)
    const latest = soonest[limit - 1]?.atMs ?? Infinity
    const cutOff =
      share < limit ? first.filter(({ due }) => due.length === share && (due.at(-1)?.atMs ?? 0) < latest) : []
    if (cutOff.length === 0) return soonest
    const more = await whatAnswers(cutOff.map(({ shard }) => dueIn(shard, nowMs, limit)))
    return soonestOf([...first.filter(answer => !cutOff.includes(answer)), ...more], limit)
  }

  async function claimIn(shard: string, guids: readonly string[], nowMs: number, untilMs: number) {
    const names = [keys.due(shard), ...guids.map(guid => keys.grantIn(shard, guid))]
    const taken = await scripts.claimDue(names, [String(nowMs), String(untilMs), ...guids])
    return Array.from({ length: taken.length / 2 }, (_, index) => {
      const guid = String(taken[2 * index])
      return parseIfReadable(guid, taken[2 * index + 1], keys.grantIn(shard, guid))
    }).flat()
  }

  /**
   * One step through a shard's names, in order, from the place on; with the cursor of the step that follows. Grants that have
   * ended are never due: where those alone are looked for, no other record is fetched.
   */
  async function scan(shard: string, cursor: string, place: Place, status: GrantStatus | undefined) {
    const [following, flat] = await ask(client, 'zscan', () =>
      client.zscan(keys.due(shard), cursor, 'COUNT', SCAN_COUNT),
    )
    const dueAt = new Map(flat.flatMap((name, index) => (index % 2 === 0 ? [[name, flat[index + 1]] as const] : [])))
    const all = [...dueAt.keys()].sort()
    const rest = isSame(place, all) ? all.filter(guid => guid > place.after) : all
    const guids = status === 'reauthorization_required' ? rest.filter(guid => dueAt.get(guid) === 'inf') : rest
    const names = guids.map(guid => keys.grantIn(shard, guid))
    const stored = names.length === 0 ? [] : await ask(client, 'mget', () => client.mgetBuffer(names))
    const found = guids.flatMap((guid, index) => parseIfReadable(guid, stored[index], names[index] ?? ''))
    return { following, all, found }
  }

  return {
    async read(guid) {
      const key = keys.grant(guid)
      const stored = await ask(client, 'get', () => client.getBuffer(key))
      return stored === null ? null : parse(guid, stored, key)
    },

    readMany(guids) {
      const shards = new Map<string, string[]>()
      const wanted = guids.map(guid => {
        const key = keys.grant(guid)
        const shard = keys.shardUnder(key)
        const together = shards.get(shard) ?? []
        shards.set(shard, together)
        return { guid, key, shard, index: together.push(key) - 1 }
      })
      const answers = new Map(
        [...shards].map(([shard, together]) => [shard, ask(client, 'mget', () => client.mgetBuffer(together))]),
      )
      return wanted.map(async ({ guid, key, shard, index }) => {
        const stored = (await answers.get(shard))?.[index]
        return stored == null ? null : parse(guid, stored, key)
      })
    },

    async standing(guid) {
      const key = keys.grant(guid)
      const [stored, gone] = await ask(client, 'mget', () => client.mgetBuffer(key, keys.gone(key)))
      return standingOf(guid, stored ?? Buffer.from(gone == null ? '' : `${gone}:`), key)
    },

    async write(
      guid,
      ifRevision,
      next,
      { retires = [], retiresForMs = RETIRED_FOR_MS, unlessRetired } = {},
    ): Promise<Written<Grant>> {
      const key = keys.grant(guid)
      const revision = nextRevision(ifRevision, clock)
      const record = next === null ? '' : formatRecord(form, key, revision, next)
      const keepFor = next === null ? String(REMOVAL_REMEMBERED_MS) : ''
      const dueAt = next?.dueAtMs == null ? '+inf' : String(next.dueAtMs)
      const refusing = unlessRetired === undefined ? [] : sealer.keyedNames(unlessRetired)
      const retiring = retires.map(fingerprint => sealer.keyedNames(fingerprint)[0])
      const marks = [...refusing, ...retiring].map(name => keys.retired(key, name))
      const names = [key, keys.gone(key), keys.due(keys.shardUnder(key)), ...marks]
      const args = [String(ifRevision), String(revision), record, keepFor, notices.channel, guid, dueAt]
      if (marks.length > 0) args.push(String(refusing.length), String(retiresForMs))
      const refused = await scripts.writeRecord(names, args)
      if (refused === null) return { ok: true, revision }
      const current = standingOf(guid, refused.current, key)
      return refused.isRetired ? { ok: false, current, isRetired: true } : { ok: false, current }
    },

    settled: (guid, signal) => notices.wait(keys.grant(guid), signal),

    async claimDue({ nowMs, untilMs, limit }) {
      const soonest = await soonestDue(nowMs, limit)
      const shards = [...new Set(soonest.map(candidate => candidate.shard))]
      const claims = shards.map(shard => {
        const guids = soonest.filter(candidate => candidate.shard === shard).map(candidate => candidate.guid)
        return claimIn(shard, guids, nowMs, untilMs)
      })
      return await whatAnswers(claims)
    },

    async list({ status, limit, cursor }): Promise<GrantPage | null> {
      const start =
        cursor === undefined ? { index: 0, scan: '0', place: BEGINNING } : parseCursor(cursor, keys.shards.length)
      if (start === null) return null
      const grants: Grant[] = []
      let { index, scan: scanCursor, place } = start
      for (; index < keys.shards.length; index += 1) {
        const shard = keys.shards[index] ?? ''
        do {
          const step = await scan(shard, scanCursor, place, status)
          let last: string | null = null
          for (const { record } of step.found) {
            if (grants.length === limit) {
              const reached = last === null ? place : placeAfter(last, step.all)
              return { grants, nextCursor: formatCursor(index, scanCursor, reached) }
            }
            last = record.guid
            if (status === undefined || record.status === status) grants.push(record)
          }
          scanCursor = step.following
          place = BEGINNING
        } while (scanCursor !== '0')
      }
      return { grants, nextCursor: null }
    },
  }
}

/** A grant that is due, by its place in the schedule. */
interface Due {
  readonly shard: string
  readonly guid: string
  readonly atMs: number
}

/** The soonest first. */
interface DueInShard {
  readonly shard: string
  readonly due: readonly Due[]
}

function soonestOf(answers: readonly DueInShard[], limit: number): readonly Due[] {
  const due = answers.flatMap(answer => answer.due)
  return due.sort((first, second) => first.atMs - second.atMs).slice(0, limit)
}

/** Shards may lie on servers of their own: one that is away keeps nobody else waiting. Throws where none of them answers. */
async function whatAnswers<T>(asked: readonly Promise<readonly T[]>[]): Promise<T[]> {
  const answers = await Promise.allSettled(asked)
  const failure = answers.find(answer => answer.status === 'rejected')
  const good = answers.filter(answer => answer.status === 'fulfilled')
  if (failure !== undefined && good.length === 0) throw failure.reason
  return good.flatMap(({ value }) => value)
}

/** How far a step was shown: the last name, and which names stood before it. */
interface Place {
  readonly after: string
  readonly shown: string
}

const BEGINNING: Place = { after: '', shown: '' }

function placeAfter(guid: string, all: readonly string[]): Place {
  return { after: guid, shown: digestOf(all.filter(name => name <= guid)) }
}

/**
 * Redis may put other names into a step when the set has grown or shrunk in between: then what was shown of it says
 * nothing any more, and the whole step is shown again.
 */
function isSame(place: Place, all: readonly string[]): boolean {
  return place.after !== '' && digestOf(all.filter(name => name <= place.after)) === place.shown
}

function digestOf(names: readonly string[]): string {
  return createHash('sha256').update(names.join('\n')).digest('base64url').slice(0, 16)
}

/** Where a listing goes on: the shard, Redis's own cursor in it, and the place in that step. */
function formatCursor(index: number, scanCursor: string, { shown, after }: Place): string {
  return Buffer.from(`${index} ${scanCursor} ${shown} ${after}`).toString('base64url')
}

const LARGEST_SCAN_CURSOR = 2n ** 64n - 1n

function parseCursor(cursor: string, shardCount: number) {
  const text = Buffer.from(cursor, 'base64url').toString()
  const [, index, scan, shown = '', after = ''] = /^(\d{1,4}) (\d{1,20}) ([\w-]*) (.*)$/.exec(text) ?? []
  if (index === undefined || scan === undefined) return null
  if (Number(index) >= shardCount || BigInt(scan) > LARGEST_SCAN_CURSOR) return null
  return { index: Number(index), scan, place: { shown, after } }
}
