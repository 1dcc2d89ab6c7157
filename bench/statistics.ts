/** What many measurements come down to. */

/** The middle one; of an even number, the mean of the two in the middle. NaN where there are none. */
export function median(values: readonly number[]): number {
  const sorted = inOrder(values)
  const middle = sorted.length / 2
  const upper = sorted[Math.floor(middle)] ?? Number.NaN
  return Number.isInteger(middle) ? ((sorted[middle - 1] ?? Number.NaN) + upper) / 2 : upper
}

/** The least value that at least `percent` of a hundred do not exceed (nearest rank). NaN where there are none. */
export function percentile(values: readonly number[], percent: number): number {
  const rank = Math.ceil((percent / 100) * values.length)
  return inOrder(values)[Math.max(rank, 1) - 1] ?? Number.NaN
}

/**
 * How many times `other` a thing is. Both were measured in the same rounds: the median of the rounds' ratios, so that what
 * disturbs a whole round disturbs this little.
 */
export function ratio(values: readonly number[], others: readonly number[]): number {
  if (values.length !== others.length) throw new RangeError('a ratio needs as many rounds of the one as of the other')
  return median(values.map((value, round) => value / (others[round] ?? Number.NaN)))
}

function inOrder(values: readonly number[]): number[] {
  return [...values].sort((first, second) => first - second)
}
