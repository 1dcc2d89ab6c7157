import type { AuditHeads } from '../../ports/audit-heads.ts'
import type { Clock } from '../../ports/clock.ts'
import type { SharedCounts } from '../../ports/counts.ts'
import type { RecordUnreadable, Stores } from '../../ports/store.ts'
import type { Tracing } from '../../ports/tracing.ts'
import { authorizationExpiry, censusExpiry, exchangeExpiry, pauseExpiry } from '../expiry.ts'
import type { Sealer } from '../sealing.ts'
import { createSightings } from '../sightings.ts'
import { createStoredForm } from '../stored-form.ts'
import { createRedisAuditHeads } from './audit-heads.ts'
import { closeRedis, connectRedis, type RedisAddress } from './connection.ts'
import { createRedisCounts } from './counts.ts'
import { createRedisGrantStore } from './grants.ts'
import { type Finding, inspectRedis } from './inspection.ts'
import { createRedisInventory } from './inventory.ts'
import { createKeys } from './keys.ts'
import { createNotices } from './notices.ts'
import { createRedisRecordStore } from './records.ts'
import { ask, defineScripts, type OnCommand, observeCommands } from './scripts.ts'

export interface RedisStoreOptions {
  readonly address: RedisAddress
  readonly prefix: string
  readonly sealer: Sealer
  readonly clock: Clock
  /** Connection trouble, for the log; requests that need Redis fail on their own. */
  readonly onConnectionError: (error: Error) => void
  /** What is wrong with the servers, told once, when they first answer: grants may get lost in them. */
  readonly onFinding: (finding: Finding) => void
  /** A grant's record was met that does not open, by whoever looked; it names the guid. */
  readonly onUnreadable: (error: RecordUnreadable) => void
  /** How many grants are kept in memory; absent: none. */
  readonly mostSightings?: number
  /** Told of each command; absent: nobody counts them. */
  readonly onCommand?: OnCommand
  /** null or absent: nothing is traced; else what is asked for in a trace is a part of it. */
  readonly tracing?: Tracing | null
}

export interface RedisStores extends Stores {
  readonly auditHeads: AuditHeads
  readonly counts: SharedCounts
  /** What is in memory was opened with keys that may not count any more. */
  forget(): void
}

/** Everything in Redis, secrets sealed. Begins to connect at once, and reconnects by itself. */
export function createRedisStores(options: RedisStoreOptions): RedisStores {
  const { clock, sealer } = options
  const keys = createKeys(options.prefix)
  const client = connectRedis(options.address, keys.connectionName)
  client.on('error', options.onConnectionError)
  const { onCommand, tracing = null } = options
  if (onCommand !== undefined) observeCommands(client, { onCommand, tracing })
  client.once('ready', () => {
    // A server that does not answer this is a server that does not answer: its other users will say so.
    inspectRedis(client).then(
      findings => findings.filter(({ ok }) => !ok).forEach(options.onFinding),
      () => {},
    )
  })
  const sightings = createSightings(clock, options.mostSightings ?? 0)
  const notices = createNotices(client, {
    channel: keys.channel,
    onError: options.onConnectionError,
    onWord(key) {
      const guid = keys.guidUnder(key)
      if (guid !== null) sightings.changed(guid)
    },
    onListening: isListening => (isListening ? sightings.listening() : sightings.deaf()),
  })
  const shared = {
    client,
    goneKeyOf: keys.gone,
    scripts: defineScripts(client),
    notices,
    form: createStoredForm(sealer),
    clock,
  }

  return {
    counts: createRedisCounts({ keys, scripts: shared.scripts }),
    grants: sightings.watching(createRedisGrantStore({ ...shared, keys, sealer, onUnreadable: options.onUnreadable })),
    sightings,
    forget: sightings.forget,
    authorizations: createRedisRecordStore({
      ...shared,
      keyOf: keys.state,
      expiresAtMs: authorizationExpiry,
      isUnderWay: authorization => authorization.status === 'pending',
    }),
    exchanges: createRedisRecordStore({
      ...shared,
      keyOf: keys.code,
      expiresAtMs: exchangeExpiry,
      isUnderWay: exchange => exchange.status === 'under_way',
    }),
    provisionings: createRedisRecordStore({
      ...shared,
      keyOf: keys.username,
      expiresAtMs: () => null,
      isUnderWay: provisioning => provisioning.status === 'under_way',
    }),
    pauses: createRedisRecordStore({
      ...shared,
      keyOf: keys.pause,
      expiresAtMs: pauseExpiry,
      isUnderWay: () => false,
    }),
    censuses: createRedisRecordStore({
      ...shared,
      keyOf: keys.census,
      expiresAtMs: censusExpiry,
      isUnderWay: () => true,
    }),
    inventory: createRedisInventory({ ...shared, keys }),
    auditHeads: createRedisAuditHeads(client, keys.auditHeads),
    async ping() {
      // A read, since that is what a cluster or a server that is loading can refuse.
      await ask(client, 'exists', () => client.exists(keys.due(keys.shards[0] ?? '')))
    },
    async close() {
      notices.close()
      closeRedis(client)
    },
  }
}
