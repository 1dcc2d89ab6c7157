/** What an export's file says of itself, and the store that both sides of a move work on. */
import { createHash } from 'node:crypto'
import type { ServeConfig } from '../../config.ts'
import { connectRedis } from '../../store/redis/connection.ts'
import type { HandoverStore } from '../../store/redis/handover.ts'
import { createKeys } from '../../store/redis/keys.ts'
import { createSealer } from '../../store/sealing.ts'
import { createStoredForm } from '../../store/stored-form.ts'
import { systemClock } from '../../system/clock.ts'

/** The first chunk. `copy`: the grants stay where they are, so that there are two of each pair. */
export interface Manifest {
  readonly kind: 'move' | 'copy'
  /** Refresh tokens are good for the app alone that they were given to. */
  readonly app: string
  readonly begun_at: string
}

/** The last chunk. */
export interface Closing {
  readonly grants: number
  readonly finished_at: string
}

export function appOf({ appId }: ServeConfig): string {
  return createHash('sha256').update(appId).digest('hex')
}

export function openStore(config: ServeConfig): HandoverStore {
  const client = connectRedis(config.redis)
  // What fails because of it says so.
  client.on('error', () => {})
  return {
    client,
    keys: createKeys(config.redisPrefix),
    form: createStoredForm(createSealer(config.encryptionKeys)),
    clock: systemClock,
  }
}
