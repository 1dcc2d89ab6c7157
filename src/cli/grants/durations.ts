import { InvalidArgumentError } from 'commander'

const UNITS = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const
const LONGEST_MS = 366 * UNITS.d

/** Milliseconds, of `90s`, `30m`, `1h`, `1h30m`, `2d`. */
export function duration(text: string): number {
  const parts = [...text.matchAll(/(\d{1,9})([smhd])/g)]
  const isWhole = parts.map(([part]) => part).join('') === text && parts.length > 0
  const sumMs = parts.reduce((sum, [, count, unit]) => sum + Number(count) * UNITS[unit as keyof typeof UNITS], 0)
  if (isWhole && sumMs > 0 && sumMs <= LONGEST_MS) return sumMs
  throw new InvalidArgumentError('It has to be a time such as 90s, 30m, 1h30m or 2d.')
}

/** The two largest units of it: `1h 30m`, `45s`. */
export function spoken(durationMs: number): string {
  let leftMs = Math.max(0, Math.floor(durationMs / 1000) * 1000)
  const parts: string[] = []
  for (const [unit, unitMs] of Object.entries(UNITS).reverse()) {
    const count = Math.floor(leftMs / unitMs)
    leftMs -= count * unitMs
    if (count > 0 || parts.length > 0) parts.push(`${count}${unit}`)
  }
  const two = parts.slice(0, 2).filter(part => !part.startsWith('0'))
  return two.length === 0 ? '0s' : two.join(' ')
}

/** `in 5m`, `5m ago`; `-` where there is no such time. */
export function fromNow(time: string | null, nowMs: number): string {
  if (time === null) return '-'
  const inMs = Date.parse(time) - nowMs
  return inMs >= 0 ? `in ${spoken(inMs)}` : `${spoken(-inMs)} ago`
}
