import t from 'tap'
import { shares } from '../../bench/profile/samples.ts'
import { inDigits, tableText } from '../../bench/report.ts'
import { median, percentile, ratio } from '../../bench/statistics.ts'

t.test('the median is the middle one, or lies in the middle of two, whatever the order', async t => {
  t.equal(median([9, 1, 5]), 5)
  t.equal(median([4, 1, 10, 2]), 3)
  t.equal(median([7]), 7)
  t.equal(median([100, 20, 3]), 20, 'as numbers, not as text')
  t.ok(Number.isNaN(median([])))
})

t.test('a percentile is one of the values: the least that so many do not exceed', async t => {
  const hundred = Array.from({ length: 100 }, (_, index) => 100 - index)
  t.equal(percentile(hundred, 50), 50)
  t.equal(percentile(hundred, 99), 99)
  t.equal(percentile(hundred, 99.9), 100)
  t.equal(percentile(hundred, 0), 1)
  t.equal(percentile([3], 99), 3)
  t.ok(Number.isNaN(percentile([], 99)))
})

t.test('a ratio is taken round by round: what slows a whole round down does not change it', async t => {
  t.equal(ratio([200, 20, 2], [100, 10, 1]), 2)
  t.equal(ratio([200, 20, 900], [100, 10, 100]), 2, 'one round that is off does not either')
  t.throws(() => ratio([1, 2], [1]), RangeError)
})

t.test('figures have three digits that count, and tables are Markdown', async t => {
  t.strictSame([0.123_456, 7.654, 42, 1234.5, Number.NaN].map(inDigits), ['0.123', '7.65', '42', '1,235', '–'])
  const text = tableText({
    title: 'Of two',
    columns: ['', 'ms'],
    rows: [
      ['one', '1.5'],
      ['another', '12'],
    ],
  })
  t.equal(text, '### Of two\n\n|         |  ms |\n| ------- | --: |\n| one     | 1.5 |\n| another |  12 |\n')
})

t.test('a profile is added up by function, of the time at work between two moments', async t => {
  const frame = (functionName: string) => ({ functionName, url: '/x/dist/src/a.js', lineNumber: 6 })
  const idle = { functionName: '(idle)', url: '', lineNumber: -1 }
  const profile = {
    nodes: [
      { id: 1, callFrame: frame('outer'), children: [2] },
      { id: 2, callFrame: frame('inner'), children: [3] },
      { id: 3, callFrame: frame('outer') },
      { id: 4, callFrame: idle },
    ],
    startTime: 1_000,
    samples: [1, 2, 3, 4, 2],
    timeDeltas: [10, 20, 20, 500, 1_000],
  }
  t.strictSame(shares(profile, 1_000, 2_000), [
    { name: 'outer src/a.js:7', self: 60, total: 100 },
    { name: 'inner src/a.js:7', self: 40, total: 80 },
  ])
})
