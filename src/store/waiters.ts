/** Those who wait for a word about a key. */
export interface Waiters {
  /** Resolves at the next `wake` of the key, or when the signal aborts. */
  wait(key: string, signal: AbortSignal): Promise<void>
  wake(key: string): void
}

export function createWaiters(): Waiters {
  const waiting = new Map<string, Set<() => void>>()

  return {
    wait(key, signal) {
      return new Promise(resolve => {
        if (signal.aborted) return resolve()
        const others = waiting.get(key) ?? new Set()
        const wake = () => {
          others.delete(wake)
          if (others.size === 0 && waiting.get(key) === others) waiting.delete(key)
          signal.removeEventListener('abort', wake)
          resolve()
        }
        waiting.set(key, others.add(wake))
        signal.addEventListener('abort', wake)
      })
    },
    wake(key) {
      for (const wake of [...(waiting.get(key) ?? [])]) wake()
    },
  }
}
