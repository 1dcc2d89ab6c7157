/** The gateway's own store, as the gateway opens it. */
import { newEncryptionKey } from '../../src/cli/keys.ts'
import { ABSENT, type GrantStore } from '../../src/ports/store.ts'
import { encryptionKeys } from '../../src/settings/forms.ts'
import { parseRedisAddress } from '../../src/store/redis/connection.ts'
import { createRedisStores, type RedisStores } from '../../src/store/redis/index.ts'
import { createSealer } from '../../src/store/sealing.ts'
import { systemClock } from '../../src/system/clock.ts'
import { grantOf } from './grants.ts'

/** `keys`: as ENCRYPTION_KEYS has them; absent: a new one. */
export function openStores(redisUrl: string, keys: string = newEncryptionKey()): RedisStores {
  const address = parseRedisAddress(redisUrl)
  if (address === null) throw new Error(`not an address: ${redisUrl}`)
  const failed = (error: unknown) => {
    throw error
  }
  return createRedisStores({
    address,
    prefix: 'htgw',
    sealer: createSealer(encryptionKeys(keys)),
    clock: systemClock,
    onConnectionError: failed,
    onFinding() {},
    onUnreadable: failed,
  })
}

const AT_ONCE = 500

/** Writes grants `from` … `to` - 1, none of which stands yet; `due`: when each is to be looked at, if not by its own times. */
export async function fill(grants: GrantStore, from: number, to: number, due?: number): Promise<void> {
  for (let first = from; first < to; first += AT_ONCE) {
    const nowMs = systemClock.now()
    const batch = Array.from({ length: Math.min(AT_ONCE, to - first) }, (_, index) => grantOf(first + index, nowMs))
    await Promise.all(
      batch.map(grant => grants.write(grant.guid, ABSENT, due === undefined ? grant : { ...grant, dueAtMs: due })),
    )
  }
}
