import type { Clock } from '../../src/ports/clock.ts'
import type { RecordUnreadable } from '../../src/ports/store.ts'
import { parseRedisAddress } from '../../src/store/redis/connection.ts'
import { createRedisStores, type RedisStores } from '../../src/store/redis/index.ts'
import { createSealer, type EncryptionKeys } from '../../src/store/sealing.ts'
import { newKey } from '../support/keys.ts'

export const KEY = newKey('k1')

export interface StoreOptions {
  readonly prefix?: string
  readonly keys?: EncryptionKeys
  readonly onUnreadable?: (error: RecordUnreadable) => void
}

/** Stores on a server of `startRedis`; connection trouble is what some tests are about, and is not reported. */
export function openRedisStores(
  server: { readonly url: string },
  clock: Clock,
  options: StoreOptions = {},
): RedisStores {
  const address = parseRedisAddress(server.url)
  if (address === null) throw new Error(`not an address: ${server.url}`)
  const sealer = createSealer(options.keys ?? [KEY])
  return createRedisStores({
    address,
    prefix: options.prefix ?? 'htgw',
    sealer,
    clock,
    onConnectionError() {},
    onFinding() {},
    onUnreadable: options.onUnreadable ?? (() => {}),
  })
}
