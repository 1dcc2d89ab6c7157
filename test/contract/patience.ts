/** What the tests of fail-overs share: calls that are made again until they succeed, and have to fail well until then. */
import type { Test } from 'tap'
import { type Stores, StoreUnavailable } from '../../src/ports/store.ts'
import type { ManualClock } from '../support/clock.ts'
import { grantOf } from './records.ts'

/** The store's own deadline, and time for a machine that is busy. */
export const LONGEST_CALL_MS = 3_000

export function shortly(): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, 20))
}

/** Tries until it is done; every failure on the way has to be `StoreUnavailable`, and to come in time. */
export async function inTheEnd<T>(t: Test, work: () => Promise<T>): Promise<T> {
  const beganAt = performance.now()
  for (;;) {
    const calledAt = performance.now()
    try {
      return await work()
    } catch (error) {
      if (!(error instanceof StoreUnavailable)) throw error
      const tookMs = performance.now() - calledAt
      if (tookMs > LONGEST_CALL_MS) t.fail(`a call took ${Math.round(tookMs)} ms to fail`)
      if (calledAt - beganAt > 30_000) throw new Error('the store does not come back', { cause: error })
      await shortly()
    }
  }
}

export async function write(t: Test, stores: Stores, clock: ManualClock, guid: string, version: number): Promise<void> {
  await inTheEnd(t, async () => {
    const current = await stores.grants.read(guid)
    const next = grantOf(guid, clock.now(), { version, attempt: null })
    const written = await stores.grants.write(guid, current?.revision ?? 0, next)
    // Refused: the write before, whose answer was lost, had been done.
    if (!written.ok && written.current?.record?.version !== version) throw new Error('nobody else writes here')
  })
}

/** Calls until a call fails for this reason; resolves when one did. */
export async function failsFor(reason: RegExp, work: () => Promise<unknown>): Promise<void> {
  const beganAt = performance.now()
  for (;;) {
    const error = await work().then(
      () => null,
      (error: unknown) => error,
    )
    if (error !== null && !(error instanceof StoreUnavailable)) throw error
    if (error !== null && reason.test(error.message)) return
    if (performance.now() - beganAt > 20_000) throw new Error(`nothing failed for ${reason}`, { cause: error })
    await shortly()
  }
}

/** All at once would keep a busy machine from answering the last of them in time. */
export async function inBatches<T>(
  items: readonly T[],
  work: (item: T, index: number) => Promise<unknown>,
): Promise<void> {
  for (let start = 0; start < items.length; start += 50) {
    await Promise.all(items.slice(start, start + 50).map((item, index) => work(item, start + index)))
  }
}
