/** Whether a request was let through, or refused, as the document says. */
import { isDeeperThan, MAX_JSON_DEPTH } from '../../src/json-depth.ts'
import type { Operation } from './operations.ts'
import type { Made } from './outgoing.ts'
import { isJsonType, type Planned } from './steps.ts'
import { demand } from './violation.ts'
import type { Answer } from './wire.ts'
import type { World } from './world.ts'

/**
 * The document says which requests fit. What fits is never refused as unfit, and what does not is never let through; and
 * nobody gets anything without a key that allows it.
 */
export function checkVerdict(world: World, planned: Planned, made: Made, answer: Answer, code: string | null): void {
  const { operations, callers } = world
  const method = planned.method ?? made.outgoing.method
  const path = planned.operation.split(' ')[1]
  const operation = operations.find(one => one.method === method && one.path === path)
  if (operation === undefined) return
  if (operation.needsKey && !callers.isGood(planned.shown)) {
    demand(answer.status >= 400, () => `${answer.status}, and nobody with a key has asked`)
  }
  const isPage = [...operation.answers.values()].some(({ type }) => type === 'text/html')
  if (isPage || made.isOdd || planned.text !== undefined || code === 'unauthorized' || code === 'forbidden') return
  const takesBody = operation.body !== null
  if (takesBody && (made.body === undefined || !isJsonType(planned.headers['content-type']))) return
  if (!takesBody && made.outgoing.body !== null) return
  if (takesBody && (HARMFUL.test(made.outgoing.body?.toString() ?? '') || (made.outgoing.body?.length ?? 0) > 60_000))
    return
  const fits =
    !isDeeperThan(MAX_JSON_DEPTH, made.outgoing.body?.toString() ?? '') &&
    operation.fits.params({ ...made.params }) &&
    (hasQuery(operation) ? operation.fits.query({ ...made.query }) : true) &&
    (!takesBody || operation.fits.body(made.body))
  // No schema says which cursors were given out.
  if (fits && made.query.cursor === undefined) {
    demand(code !== 'validation_failed', () => `it fits the schema, and is refused: ${answer.body}`)
  }
  if (!fits) demand(answer.status === 400, () => `it does not fit the schema, and is answered ${answer.status}`)
}

const HARMFUL = /"(__proto__|constructor|prototype)"/

/** Routes without a documented query take, and ignore, any. */
function hasQuery(operation: Operation): boolean {
  return Object.keys(operation.query.properties ?? {}).length > 0
}
