/** Some thousand cases of `npm run fuzz`, always the same ones; and that the fuzz is not blind. */
import t from 'tap'
import { fuzz } from './run.ts'
import { startWorld } from './world.ts'

const SEED = 1
const CASES = 3_000

t.test('whatever comes, by every route, is answered as documented, and nothing is lost', async t => {
  const world = await startWorld()
  t.teardown(() => world.close())
  const { cases, requests, kept, violation } = await fuzz(world, { seed: SEED, cases: CASES })
  t.equal(
    violation,
    null,
    violation === null ? 'all is well' : `again: npm run fuzz -- --seed ${violation.seed} --cases 1`,
  )
  t.ok(cases >= CASES)
  for (const { name, answers } of world.operations) {
    const good = [...answers.keys()].filter(status => status < 400)
    t.ok(
      good.some(status => (requests[name]?.[status] ?? 0) > 0),
      `${name} has also done what it is for`,
    )
  }
  t.ok(kept >= 20, 'grants were kept')
})
