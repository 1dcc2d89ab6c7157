/** Which steps of a counterexample matter. The values in them were made smaller before. */
import fc from 'fast-check'
import type { Step } from './steps.ts'
import type { World } from './world.ts'

const WITHIN_MS = 60_000
const LONGEST_LINE = 1_500

/** The text of a report: what went wrong, by which requests, by the fewest steps. `run` throws where it goes wrong again. */
export async function smallest(
  world: World,
  found: readonly Step[],
  error: Error,
  run: (steps: readonly Step[]) => Promise<void>,
): Promise<string> {
  const untilMs = Date.now() + WITHIN_MS
  let steps = found
  let message = error.message
  for (let size = Math.ceil(found.length / 2); size >= 1; size = Math.floor(size / 2)) {
    for (let at = 0; at < steps.length && steps.length > 1 && Date.now() < untilMs; ) {
      const fewer = steps.filter((_step, index) => index < at || index >= at + size)
      const failure = await failureOf(() => run(fewer))
      if (failure === null) at += size
      else [steps, message] = [fewer, failure.message]
    }
  }
  const log = await world.errors()
  return [
    message,
    ...(log === '' ? [] : ["The gateway's log:", log.slice(-3_000)]),
    `The steps, ${steps.length} of them:`,
    ...steps.map(step => shortened(fc.stringify(step))),
  ].join('\n')
}

/** The seed has it all. */
function shortened(text: string): string {
  return text.length <= LONGEST_LINE ? text : `${text.slice(0, LONGEST_LINE)}… (${text.length} characters)`
}

async function failureOf(work: () => Promise<void>): Promise<Error | null> {
  try {
    await work()
    return null
  } catch (error) {
    return error as Error
  }
}
