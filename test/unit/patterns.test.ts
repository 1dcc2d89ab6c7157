/** Patterns meet text of any length before its length is told: each has to be done with the largest body at once. */
import { readFileSync } from 'node:fs'
import { runInNewContext } from 'node:vm'
import t from 'tap'

function patternsIn(value: unknown): string[] {
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([name, inner]) =>
    name === 'pattern' && typeof inner === 'string' ? [inner] : patternsIn(inner),
  )
}

const LARGEST_BODY = 64 * 1024
/** What fits for long, and does not in the end. */
const ALMOST = ['a', ' ', '0', '-', '.', 'é', 'a ', '\u3000'].map(
  part => `${part.repeat(LARGEST_BODY / part.length)}\0`,
)

t.test('no pattern of a route looks at a text over and over', async t => {
  const document = JSON.parse(readFileSync('openapi/openapi.json', 'utf8'))
  const patterns = [...new Set(patternsIn(document))]
  t.ok(patterns.length > 4)
  for (const pattern of patterns) {
    for (const text of ALMOST) {
      // A millisecond or two; a pattern that goes back and forth takes ten seconds.
      const timeout = 2_000
      const run = () => runInNewContext("new RegExp(pattern, 'u').test(text)", { pattern, text }, { timeout })
      t.doesNotThrow(run, `${pattern} on ${JSON.stringify(text.slice(0, 3))}…`)
    }
  }
})
