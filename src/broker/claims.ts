/**
 * The claims that this process acts on, of codes and usernames. A claim is written to the store before the request goes out, so
 * that one replica sends it. Where the store's answer to that write is lost, the claim may stand although no request was sent:
 * it is ours, and not noted here. Then this process may claim again, and nothing is in doubt.
 */
import { Problem } from '../errors.ts'

export interface Claims {
  /** To be called before the claim is written. */
  add(name: string, leaseUntilMs: number): void
  /** The claim was not written, or this process does not know. */
  drop(name: string, leaseUntilMs: number): void
  has(name: string, leaseUntilMs: number): boolean
  /** Acts on a claim. It stays noted where `work` fails in an unforeseen way: then its request may have been sent. */
  during<T>(name: string, leaseUntilMs: number, work: () => Promise<T>): Promise<T>
}

export function createClaims(): Claims {
  /** How often each is noted: two requests may try to claim the same at the same moment, and one of them loses. */
  const noted = new Map<string, number>()
  const idOf = (name: string, leaseUntilMs: number) => `${name} ${leaseUntilMs}`

  function drop(id: string): void {
    const times = noted.get(id) ?? 0
    if (times > 1) noted.set(id, times - 1)
    else noted.delete(id)
  }

  return {
    add(name, leaseUntilMs) {
      const id = idOf(name, leaseUntilMs)
      noted.set(id, (noted.get(id) ?? 0) + 1)
    },
    drop: (name, leaseUntilMs) => drop(idOf(name, leaseUntilMs)),
    has: (name, leaseUntilMs) => noted.has(idOf(name, leaseUntilMs)),
    async during(name, leaseUntilMs, work) {
      try {
        const done = await work()
        drop(idOf(name, leaseUntilMs))
        return done
      } catch (error) {
        if (error instanceof Problem) drop(idOf(name, leaseUntilMs))
        throw error
      }
    },
  }
}
