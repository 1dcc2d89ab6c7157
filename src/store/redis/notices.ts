import { createWaiters, type Waiters } from '../waiters.ts'
import { anotherConnection, closeRedis, type RedisClient } from './connection.ts'

/** What other replicas tell: a connection of its own, since one that listens can do nothing else. */
export interface Notices extends Pick<Waiters, 'wait'> {
  readonly channel: string
  close(): void
}

/** Listens as soon as it can, and again after each break. While it cannot, nobody is woken: waiters look themselves. */
export function createNotices(client: RedisClient, channel: string, onError: (error: Error) => void): Notices {
  const waiters = createWaiters()
  const listener = anotherConnection(client)
  listener.on('error', onError)
  listener.on('message', (_channel, key) => waiters.wake(key))
  // Not heard just now is no failure.
  const listen = () => void listener.subscribe(channel).catch(() => {})
  listener.on('ready', listen)

  return { channel, wait: waiters.wait, close: () => closeRedis(listener) }
}
