import { createWaiters, type Waiters } from '../waiters.ts'
import { anotherConnection, closeRedis, type RedisClient } from './connection.ts'

/** What other replicas tell: a connection of its own, since one that listens can do nothing else. */
export interface Notices extends Pick<Waiters, 'wait'> {
  readonly channel: string
  close(): void
}

const SUBSCRIBE_AGAIN_MS = 15_000

export interface NoticesOptions {
  readonly channel: string
  readonly onError: (error: Error) => void
  /** Told of each word, by the key of the record that it is about. */
  readonly onWord: (key: string) => void
  /** Words come from now on; or they may get lost. */
  readonly onListening: (isListening: boolean) => void
}

/** Listens as soon as it can, and again after each break. While it cannot, nobody is woken: waiters look themselves. */
export function createNotices(client: RedisClient, options: NoticesOptions): Notices {
  const { channel, onError, onListening, onWord } = options
  const waiters = createWaiters()
  const listener = anotherConnection(client)
  listener.on('error', onError)
  listener.on('message', (_channel, key) => {
    onWord(key)
    waiters.wake(key)
  })
  // Not heard just now is no failure.
  const listen = () => {
    listener.subscribe(channel).then(
      () => onListening(true),
      error => {
        if (listener.status !== 'ready') return
        // Refused, as by an access list without this channel: nothing breaks by it, and somebody has to be told.
        onError(error)
        setTimeout(() => void (listener.status === 'ready' && listen()), SUBSCRIBE_AGAIN_MS).unref()
      },
    )
  }
  listener.on('ready', listen)
  listener.on('close', () => onListening(false))

  return { channel, wait: waiters.wait, close: () => closeRedis(listener) }
}
