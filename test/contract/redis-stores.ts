import { randomBytes } from 'node:crypto'
import type { Clock } from '../../src/ports/clock.ts'
import { parseRedisAddress } from '../../src/store/redis/connection.ts'
import { createRedisStores, type RedisStores } from '../../src/store/redis/index.ts'
import { createSealer, type EncryptionKey } from '../../src/store/sealing.ts'

export const KEY: EncryptionKey = { id: 'k1', key: randomBytes(32) }

export interface StoreOptions {
  readonly prefix?: string
  readonly keys?: readonly [EncryptionKey, ...EncryptionKey[]]
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
  })
}
