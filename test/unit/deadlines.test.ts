import t from 'tap'
import { createDeadlines, TICK_MS, type Ticking } from '../../src/provider/deadlines.ts'

/** A process whose time the test moves: timers run before the sockets are polled, as in an event loop. */
function setUp() {
  const work: (() => void)[] = []
  let nowMs = 1_000
  let tick: { readonly run: () => void; readonly atMs: number } | null = null
  const ticking: Ticking = {
    now: () => nowMs,
    schedule(run) {
      if (tick !== null) throw new Error('there is one timer')
      tick = { run, atMs: nowMs + TICK_MS }
    },
    afterPoll: later => void work.push(later),
  }
  function turn(ms: number, sockets: () => void): void {
    nowMs += ms
    if (tick !== null && nowMs >= tick.atMs) {
      const { run } = tick
      tick = null
      run()
    }
    sockets()
    for (const later of work.splice(0)) later()
  }
  return {
    deadlines: createDeadlines(ticking),
    isTicking: () => tick !== null,
    /** The loop turns once after this time; `sockets` runs where it polls. */
    turn,
    /** The process runs for so long, without a hitch. */
    run(ms: number) {
      for (let left = ms; left > 0; left -= 10) turn(Math.min(10, left), () => {})
    },
  }
}

t.test('a deadline ends within a tick of its time, once', async t => {
  const { deadlines, run } = setUp()
  const ended: string[] = []
  deadlines.watch(deadlines.in(1_000), () => ended.push('a'))
  run(500)
  deadlines.watch(deadlines.in(1_000), () => ended.push('b'))
  run(490)
  t.strictSame(ended, [])
  run(2 * TICK_MS)
  t.strictSame(ended, ['a'])
  run(480)
  t.strictSame(ended, ['a', 'b'])
  run(5_000)
  t.strictSame(ended, ['a', 'b'])
})

t.test('one that is called off does not end, and the timer stops with the last one', async t => {
  const { deadlines, isTicking, run } = setUp()
  t.notOk(isTicking(), 'none while idle')
  const callOff = deadlines.watch(deadlines.in(100), () => t.fail('called off'))
  const other = deadlines.watch(deadlines.in(100), () => t.fail('called off'))
  t.ok(isTicking())
  callOff()
  other()
  run(2 * TICK_MS)
  t.notOk(isTicking())
  run(10_000)
  let ended = false
  deadlines.watch(deadlines.in(1_000), () => {
    ended = true
  })
  run(990)
  t.notOk(ended, 'idle time counts for none of the next')
  run(2 * TICK_MS)
  t.ok(ended)
})

t.test('time in which the process did not run does not count', async t => {
  const { deadlines, run, turn } = setUp()
  let ended = false
  deadlines.watch(deadlines.in(1_000), () => {
    ended = true
  })
  run(200)
  turn(3_600_000, () => {})
  run(600)
  t.notOk(ended, 'an hour of sleep, and 800 ms awake')
  run(200 + TICK_MS)
  t.ok(ended)
})

t.test(
  'a sleep over the end of a deadline: what waits in a socket, or comes a moment later, is read first',
  async t => {
    for (const readAfterMs of [0, 40, 80]) {
      const { deadlines, run, turn } = setUp()
      const callOff = deadlines.watch(deadlines.in(1_000), () => t.fail(`${readAfterMs} ms after waking`))
      run(990)
      turn(60_000, readAfterMs === 0 ? callOff : () => {})
      if (readAfterMs > 0) {
        run(readAfterMs)
        callOff()
      }
      run(1_000)
    }
    const { deadlines, run, turn } = setUp()
    let ended = false
    deadlines.watch(deadlines.in(1_000), () => {
      ended = true
    })
    run(990)
    turn(60_000, () => t.notOk(ended))
    run(90)
    t.notOk(ended)
    run(TICK_MS)
    t.ok(ended, 'nothing came')
  },
)

t.test('a deadline that is noticed in time yields to the sockets as well', async t => {
  const { deadlines, turn } = setUp()
  const callOff = deadlines.watch(deadlines.in(TICK_MS), () => t.fail('its answer was there'))
  turn(TICK_MS, callOff)
  turn(TICK_MS, () => {})
})

t.test('a loop that is late at every tick still gets to its deadlines', async t => {
  const { deadlines, turn } = setUp()
  let ended = false
  deadlines.watch(deadlines.in(1_000), () => {
    ended = true
  })
  let turns = 0
  while (!ended && turns < 1_000) {
    turn(10 * TICK_MS, () => {})
    turns += 1
  }
  t.ok(turns <= 1_000 / TICK_MS + 3, `${turns} turns`)
})

t.test('two requests may have one deadline', async t => {
  const { deadlines, run } = setUp()
  const atMs = deadlines.in(1_000)
  const ended: string[] = []
  const first = deadlines.watch(atMs, () => ended.push('first'))
  run(900)
  first()
  deadlines.watch(atMs, () => ended.push('second'))
  run(100 + 2 * TICK_MS)
  t.strictSame(ended, ['second'])
})
