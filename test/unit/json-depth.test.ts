import t from 'tap'
import { isDeeperThan } from '../../src/json-depth.ts'

t.test('how deep JSON goes is told from its text', async t => {
  const cases: readonly [string, number][] = [
    ['', 0],
    ['7', 0],
    ['[]', 1],
    ['[[],[],{}]', 2],
    ['{"a":[{"b":1}]}', 3],
    ['"[[[["', 0],
    ['["\\"[[[["]', 1],
    ['["\\\\",[]]', 2],
    [']]][[', 0],
  ]
  for (const [json, depth] of cases) {
    t.notOk(isDeeperThan(depth, json), json)
    if (depth > 0) t.ok(isDeeperThan(depth - 1, json), json)
  }
})
