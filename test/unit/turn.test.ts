import { setImmediate as nextTurn } from 'node:timers/promises'
import t from 'tap'
import { createTurn } from '../../src/turn.ts'

t.test('what comes in one turn is handed over together, in order, and once', async t => {
  const handed: (readonly string[])[] = []
  const turn = createTurn<string>(9, all => handed.push(all))
  turn.put('first')
  turn.put('second')
  t.same(handed, [], 'not before the turn ends')
  await nextTurn()
  t.same(handed, [['first', 'second']])
  await nextTurn()
  t.same(handed, [['first', 'second']], 'and not again')
})

t.test('what comes while it is worked on is for the next turn', async t => {
  const handed: (readonly number[])[] = []
  const turn = createTurn<number>(9, all => {
    handed.push(all)
    if (handed.length < 3) turn.put(handed.length)
  })
  turn.put(0)
  await nextTurn()
  await nextTurn()
  await nextTurn()
  t.same(handed, [[0], [1], [2]])
})

t.test('more than may wait do not wait', async t => {
  const handed: (readonly number[])[] = []
  const turn = createTurn<number>(2, all => handed.push(all))
  for (const each of [1, 2, 3, 4, 5]) turn.put(each)
  t.same(handed, [
    [1, 2],
    [3, 4],
  ])
  await nextTurn()
  t.same(handed, [[1, 2], [3, 4], [5]])
})

t.test('what came so far need not wait for the end', async t => {
  const handed: (readonly number[])[] = []
  const turn = createTurn<number>(9, all => handed.push(all))
  turn.put(1)
  turn.end()
  t.same(handed, [[1]])
  turn.end()
  await nextTurn()
  t.same(handed, [[1]], 'and nothing twice')
})
