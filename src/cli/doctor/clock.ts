import { failed, ok, warning } from './check.ts'

const TOLERABLE_MS = 1_000
/** As far as replicas' clocks may differ: see `broker/grant.ts`. */
const MOST_MS = 5_000

/** How far another clock is ahead of ours (negative: behind), known to within `uncertaintyMs`. */
export function clockLine(offsetMs: number, uncertaintyMs: number) {
  const leastMs = Math.max(0, Math.abs(offsetMs) - uncertaintyMs)
  const seconds = (Math.abs(offsetMs) / 1000).toFixed(1)
  const text = `${seconds} s ${offsetMs > 0 ? 'ahead of' : 'behind'} this machine: keep clocks with NTP, lifetimes are counted on ours`
  if (leastMs > MOST_MS) return failed(text)
  return leastMs > TOLERABLE_MS ? warning(text) : ok('agrees with this machine')
}
