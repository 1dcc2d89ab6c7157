/** The lines of one stream, as a verifier meets them. Pure. */
import type { AuditKeys } from './keys.ts'
import { macOf, type ReadLine } from './line.ts'

export interface Chain {
  /** The line that it has come to. */
  readonly seq: number
  /** What the next line may be chained to: more than one after a fault, so that one fault is not told as many. */
  readonly macs: readonly string[]
  /** By which keys it may be: one, as soon as a line was good. */
  readonly keys: readonly AuditKeys[]
  /** Lines were missing before the last one: they may come now. */
  readonly isAfterGap: boolean
}

export type Verdict =
  | { readonly kind: 'good' | 'changed' | 'duplicate' | 'out_of_order' }
  | { readonly kind: 'missing'; readonly from: number; readonly to: number }

const MOST_MACS = 8

/** The first line that is seen of a stream. `changed` null: it stands in the middle, and cannot be checked. */
export function beginChain(line: ReadLine, keys: readonly AuditKeys[]): { chain: Chain; changed: boolean | null } {
  const { seq, mac, beginning } = line
  if (beginning === undefined) return { chain: { seq, macs: [mac], keys, isAfterGap: false }, changed: null }
  const computed = keys.map(key => macOf(key.chain, beginning.previous?.mac ?? '', line.content))
  const changed = !computed.includes(mac)
  return { chain: { seq, macs: changed ? [mac, ...computed] : [mac], keys, isAfterGap: false }, changed }
}

/**
 * The next line. One that fits to what stands before it is good, whatever number it should have had. One that does not was
 * changed, or others are missing before it, or it stands in the wrong place.
 */
export function follow(chain: Chain, line: ReadLine): { chain: Chain; verdict: Verdict } {
  const { seq, mac, content } = line
  const previous = line.beginning?.previous?.mac
  for (const key of chain.keys) {
    const place = chain.macs.findIndex(before => macOf(key.chain, before, content) === mac)
    if (place === -1) continue
    if (chain.isAfterGap && place > 0 && seq <= chain.seq) {
      return { chain: { ...chain, macs: [mac, ...chain.macs], isAfterGap: false }, verdict: { kind: 'out_of_order' } }
    }
    return { chain: { seq, macs: [mac], keys: [key], isAfterGap: false }, verdict: { kind: 'good' } }
  }
  if (seq <= chain.seq) {
    return { chain, verdict: { kind: chain.macs.includes(mac) ? 'duplicate' : 'out_of_order' } }
  }
  // A line that is missing may stand further on, so the chain goes on from either side.
  const befores = previous === undefined ? chain.macs : [previous, ...chain.macs]
  const computed = befores.flatMap(before => chain.keys.map(key => macOf(key.chain, before, content)))
  const isMissing = seq > chain.seq + 1
  const macs = [mac, ...(isMissing ? [] : computed), ...chain.macs].slice(0, MOST_MACS)
  const verdict: Verdict = isMissing ? { kind: 'missing', from: chain.seq + 1, to: seq - 1 } : { kind: 'changed' }
  return { chain: { seq, macs, keys: chain.keys, isAfterGap: isMissing }, verdict }
}
