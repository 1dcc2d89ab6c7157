import t from 'tap'
import { LINE_START } from '../../src/audit/line.ts'
import { closedStream, faultsOf, markOf, newKeys, readToken, recordedStream, verify } from '../support/audit.ts'

const keys = newKeys()
const WHOLE = await closedStream(keys, 'one', 8)

function faults(...files: readonly string[][]): string[] {
  return faultsOf(verify([keys], files))
}

/** With the line of this index taken out; and put in before another one. */
function without(index: number, count = 1): string[] {
  return WHOLE.toSpliced(index, count)
}
function withLine(index: number, ...lines: readonly (string | undefined)[]): string[] {
  return WHOLE.toSpliced(index, 0, ...lines.filter(line => line !== undefined))
}

t.test('a whole stream is good, alone or among other lines', async t => {
  const report = verify([newKeys(), keys], [WHOLE])
  t.match(report, {
    ok: true,
    streams: [{ stream: 'one', lines: 10, first_seq: 1, last_seq: 10, status: 'closed' }],
  })
  t.strictSame([...report.faults, ...report.notes], [])
  const mixed = WHOLE.flatMap(line => [
    '{"level":"info","msg":"{\\"audit\\":1,"}',
    `2026-11-25T03:00:00Z stdout F ${line}`,
  ])
  t.strictSame(faults(mixed), [])
})

t.test('a change of any byte of any line is found, at that line, and once', async t => {
  for (const [index, line] of WHOLE.entries()) {
    for (let place = LINE_START.length; place < line.length; place += 1) {
      const other = line[place] === 'x' ? 'y' : 'x'
      const changed = `${line.slice(0, place)}${other}${line.slice(place + 1)}`
      const found = faults(WHOLE.with(index, changed))
      if (!found.some(fault => fault.endsWith(`@${index + 1}`)))
        t.fail(`line ${index + 1}, byte ${place}: ${found}\n${changed}`)
    }
  }
  const inField = (field: RegExp, value: string) => faults(WHOLE.with(4, (WHOLE[4] ?? '').replace(field, value)))
  t.strictSame(inField(/"caller":"scheduler"/, '"caller":"nightwatch"'), ['changed@5'])
  t.strictSame(inField(/"outcome":"ok"/, '"outcome":"forbidden"'), ['changed@5'])
  t.strictSame(inField(/"guid":"ada"/, '"guid":"bob"'), ['changed@5'])
  t.strictSame(inField(/"at":"2026/, '"at":"2025'), ['changed@5'])
  t.strictSame(inField(/"seq":5/, '"seq":9'), ['missing@5'])
  t.strictSame(inField(/"mac":"./, '"mac":"_'), ['changed@5'])
  t.strictSame(inField(/,"by"/, ', "by"'), ['changed@5'], 'nor is a space more taken for the same')
})

t.test('removed lines', async t => {
  for (let index = 1; index < WHOLE.length - 1; index += 1)
    t.strictSame(faults(without(index)), [`missing@${index + 1}`])
  t.match(verify([keys], [without(3, 4)]), {
    faults: [{ kind: 'missing', stream: 'one', file: 'file-1', line: 4, text: 'lines 4 to 7 are missing' }],
  })
  t.strictSame(faults(without(0)), ['missing@1'], 'the beginning')
  t.strictSame(faults(without(0, 3)), ['missing@1'])
  t.strictSame(faults([]), ['empty'])
  t.strictSame(faults(WHOLE, ['{"level":"info"}']), ['empty'], 'all of a file')
})

t.test('the end: found with the store alone, which has seen it', async t => {
  const head = { ...markOf(WHOLE[8]), at: '2026-11-25T03:00:00Z' }
  for (const left of [8, 7, 1]) {
    const cut = WHOLE.slice(0, left)
    t.match(verify([keys], [cut]), { ok: true, notes: [{ text: /cannot be told/ }], streams: [{ status: 'open' }] })
    const text = left === 8 ? 'line 9 is missing' : `lines ${left + 1} to 9 are missing`
    t.match(verify([keys], [cut], { heads: [head] }), {
      ok: false,
      faults: [{ kind: 'cut_off', stream: 'one', line: null, text: `${text} at the end: the store has seen them` }],
    })
  }
  t.strictSame(
    faultsOf(verify([keys], [WHOLE], { heads: [head] })),
    [],
    'lines that the store has not seen yet are none',
  )
  const other = { ...head, mac: markOf(WHOLE[3]).mac }
  t.strictSame(faultsOf(verify([keys], [WHOLE], { heads: [other] })), ['changed@9'])
  t.match(verify([keys], [WHOLE], { heads: [head, { ...head, stream: 'gone' }] }), {
    ok: true,
    notes: [{ stream: 'gone', text: /the store knows this stream/ }],
  })
})

t.test('moved, repeated and inserted lines', async t => {
  const swapped = WHOLE.with(3, WHOLE[4] ?? '').with(4, WHOLE[3] ?? '')
  t.strictSame(faults(swapped), ['missing@4', 'out_of_order@5'])
  t.strictSame(faults(withLine(5, WHOLE[4])), ['duplicate@6'])
  t.strictSame(faults(withLine(9, WHOLE[4])), ['out_of_order@10'])
  t.strictSame(faults([...WHOLE, ...WHOLE.slice(2, 5)]), ['out_of_order@11', 'out_of_order@12', 'out_of_order@13'])
  t.strictSame(faults([...WHOLE.slice(0, 2), ...WHOLE.slice(5), ...WHOLE.slice(2, 5)]), [
    'missing@3',
    'out_of_order@8',
    'out_of_order@9',
    'out_of_order@10',
  ])
  t.strictSame(faults([...WHOLE, WHOLE[0] ?? '']), ['out_of_order@11'], 'also the first one')

  const theirs = recordedStream(newKeys(), 'one')
  for (let version = 0; version < 12; version += 1) readToken(theirs, version)
  t.strictSame(faults(withLine(5, theirs.lines[5])), ['changed@6'], 'a line made without the key')
  t.strictSame(faults(withLine(5, theirs.lines[2])), ['out_of_order@6'])
  t.strictSame(faults(withLine(10, theirs.lines[10])), ['changed@11'], 'also at the end')
  t.strictSame(faults(theirs.lines), ['unknown_key@1'])
  t.strictSame(faults(WHOLE.with(0, theirs.lines[0] ?? '')), ['unknown_key@1'])
})

t.test('streams in one file are chained: a whole one cannot be taken out', async t => {
  const second = await closedStream(keys, 'two', 2, markOf(WHOLE.at(-1)))
  const third = await closedStream(keys, 'three', 2, markOf(second.at(-1)))
  t.strictSame(faults([...WHOLE, ...second, ...third]), [])
  t.strictSame(faults(WHOLE, second, third), [], 'in one file or in several')
  t.match(verify([keys], [[...WHOLE, ...third]]), {
    faults: [{ kind: 'not_chained', line: 11, stream: 'two', text: /line 4 of this stream/ }],
  })
  t.strictSame(faults([...second, ...third]), ['not_chained@1'], 'the first')
  t.strictSame(faults([...second, ...WHOLE, ...third]), ['not_chained@1'], 'nor can they be put in another order')
  t.strictSame(faults([...WHOLE.slice(0, 7), ...second, ...third]), ['missing@8'], 'nor does one lose its end')
  t.match(verify([keys], [[...WHOLE.slice(0, 7), ...second]]).faults, [
    { stream: 'one', text: 'lines 8 to 10 are missing' },
  ])
  t.match(verify([keys], [[...second, ...third]], { partial: true }), {
    ok: true,
    notes: [{ text: /should stand before/ }],
  })
})

t.test('several replicas in one output', async t => {
  const other = await closedStream(keys, 'other', 8)
  const mixed = WHOLE.flatMap((line, index) => [line, other[index] ?? ''])
  t.strictSame(faults(mixed), [])
  t.strictSame(faults(mixed.toSpliced(6, 1)), ['missing@8'])
})

t.test('rotation: the stream goes on in another file', async t => {
  const stream = recordedStream(keys, 'two')
  readToken(stream, 1)
  stream.reopen()
  readToken(stream, 2)
  await stream.close()
  const [old, young] = [stream.lines.slice(0, 3), stream.lines.slice(3)]
  t.strictSame(faults(old, young), [])
  t.match(verify([keys], [young]), { ok: true, notes: [{ text: /up to 3 stand in an older file/ }] })
  t.match(verify([keys], [old]), { ok: true, streams: [{ status: 'rotated' }] })
  const head = { ...markOf(young[1]), at: '2026-11-25T03:00:00Z' }
  t.match(verify([keys], [old], { heads: [head] }), { ok: true, notes: [{ text: /in the file that it goes on in/ }] })
  t.strictSame(faultsOf(verify([keys], [old.slice(0, 2)], { heads: [head] })), ['cut_off'])
  t.strictSame(faults(old.slice(0, 2), young), ['missing@1'], 'the end of the older file')
  t.strictSame(faults(WHOLE, young), ['missing@1'], 'all of the older file')
  const next = await closedStream(keys, 'next', 1)
  t.strictSame(faults(old, next), ['missing'], 'the beginning of the younger one')
  t.strictSame(faults(young, old), ['out_of_order@1', 'out_of_order@2', 'out_of_order@3'], 'files in the wrong order')
})

t.test('pieces whose beginning is gone', async t => {
  const piece = WHOLE.slice(4)
  t.match(verify([newKeys(), keys], [piece], { partial: true }), {
    ok: true,
    notes: [{ text: /lines 1 to 4 are missing/ }],
  })
  const changed = piece.with(2, (piece[2] ?? '').replace('scheduler', 'nightwatch'))
  t.strictSame(faultsOf(verify([newKeys(), keys], [changed], { partial: true })), ['changed@3'])
  t.strictSame(faultsOf(verify([newKeys()], [piece], { partial: true })).length, piece.length - 1, 'no key fits')
})

t.test(
  'a process that was killed: its stream is not closed, its last line not whole, and neither is a fault',
  async t => {
    const killed = [...WHOLE.slice(0, 5), (WHOLE[5] ?? '').slice(0, 60)]
    const report = verify([keys], [killed])
    t.match(report, { ok: true, streams: [{ status: 'open', last_seq: 5 }] })
    t.match(report.notes, [
      { line: 6, text: 'a line that was not written to its end' },
      { text: /not closed after line 5/ },
    ])
    const next = await closedStream(keys, 'next', 1, markOf(WHOLE[4]))
    t.strictSame(faults([...killed, ...next]), [])
    t.strictSame(faults(WHOLE.with(5, (WHOLE[5] ?? '').slice(0, 60))), ['missing@7'], 'unless the stream goes on')
    const glued = [...WHOLE.slice(0, 5), `${(WHOLE[5] ?? '').slice(0, 60)}${next[0]}`, ...next.slice(1)]
    t.strictSame(faults(glued), [], 'also where the next one does not begin a line')
  },
)

t.test('lines for which there was no room are told, and leave no hole', async t => {
  const stream = recordedStream(keys, 'one')
  readToken(stream, 1)
  stream.room = 2
  for (let version = 2; version < 5; version += 1) readToken(stream, version)
  stream.room = 100
  readToken(stream, 5)
  await stream.close()
  t.match(stream.lines[2], /"event":"audit.lost".*"lost":3,/)
  const report = verify([keys], [stream.lines])
  t.match(report, { ok: true, streams: [{ last_seq: 5 }], notes: [{ line: 3, text: /^3 lines were lost/ }] })
  t.strictSame(faults(stream.lines.toSpliced(2, 1)), ['missing@3'])
})

t.test('faults without end are counted, not kept', async t => {
  const lines = Array.from({ length: 1_500 }, () => `${LINE_START}"nonsense":1}`)
  const report = verify([keys], [lines])
  t.strictSame([report.faults.length, report.fault_count], [1_000, 1_500])
})
