/** What the commands of `grants` make of what they are told: tables, durations, an outage. */
import t from 'tap'
import type { Grant } from '../../src/cli/grants/api.ts'
import { duration, fromNow, spoken } from '../../src/cli/grants/durations.ts'
import { simulateOutage } from '../../src/cli/grants/outage.ts'
import { createProgress } from '../../src/cli/grants/progress.ts'
import { clean, table, writeRows } from '../../src/cli/grants/terminal.ts'
import { wrong } from '../support/settings.ts'

const NOW = Date.parse('2026-11-24T00:00:00Z')
const MINUTE = 60_000

function at(minutes: number): string {
  return new Date(NOW + minutes * MINUTE).toISOString()
}

function grant(guid: string, more: Partial<Grant> = {}): Grant {
  return {
    guid,
    username: null,
    origin: 'import',
    scope: 'profile_read',
    status: 'active',
    version: 1,
    access_token_expires_at: at(60),
    refresh_token_expires_at: null,
    refresh_due_at: at(50),
    last_refreshed_at: null,
    last_error: null,
    created_at: at(-60),
    updated_at: at(-60),
    ...more,
  }
}

t.test('durations', async t => {
  t.strictSame(
    ['90s', '30m', '1h', '1h30m', '2d'].map(duration),
    [90_000, 1_800_000, 3_600_000, 5_400_000, 172_800_000],
  )
  for (const text of ['', '5', 'm', '-1h', '1.5h', '1h 30m', '0s', '1w', '1000d', 'h1'])
    t.throws(() => duration(text), /time such as/, text)
  t.strictSame([0, 999, 45_000, 5_400_000, 90_061_000].map(spoken), ['0s', '0s', '45s', '1h 30m', '1d 1h'])
  t.strictSame([spoken(3_600_000), spoken(86_400_000 + 60_000)], ['1h', '1d'])
  t.strictSame([fromNow(at(5), NOW), fromNow(at(-5), NOW), fromNow(null, NOW)], ['in 5m', '5m ago', '-'])
})

const COLUMNS = [
  { title: 'GUID', value: (row: string[]) => row[0] ?? '' },
  { title: 'NAME', value: (row: string[]) => row[1] ?? '', shown: (row: string[]) => `~${row[1]}` },
]

t.test('a table is as wide as what is in it, and never wider than the terminal', async t => {
  const rows = [
    ['a', 'short'],
    ['b'.repeat(32), 'n'.repeat(40)],
  ]
  t.strictSame(table(COLUMNS, rows, 80)[1], `a${' '.repeat(33)}~short`)
  for (const width of [80, 60, 40, 20, 14, 10]) {
    const lines = table(COLUMNS, rows, width)
    t.ok(
      lines.every(line => line.length <= width),
      String(width),
    )
    t.match(lines[2], width === 80 ? /^b{32} {2}~n{40}$/ : /…/)
  }
})

t.test('elsewhere: tabs between exact values, no heading; nothing that moves a cursor or ends a field', async t => {
  const written: string[] = []
  const evil = 'a\tb\nc\u001b[2Jd\u202ee\u009bf'
  writeRows({ write: text => written.push(text) }, COLUMNS, [['guid', evil]])
  t.strictSame(written, ['guid\ta\uFFFDb\uFFFDc\uFFFD[2Jd\uFFFDe\uFFFDf\n'])
  t.equal(clean('Ünïcode 4711'), 'Ünïcode 4711')
  const lines: string[] = []
  writeRows({ isTTY: true, columns: 80, write: text => lines.push(text) }, COLUMNS, [['guid', evil]])
  t.equal(lines.length, 2)
  t.notMatch(lines[1]?.slice(0, -1), /\p{Cc}/u)
})

t.test('an outage: who lapses, who is lost, and who does not notice', async t => {
  const error = { code: 'provider_unavailable', at: at(-1), attempts: 3 }
  const grants = [
    grant('noticed', { access_token_expires_at: at(20), refresh_due_at: at(10) }),
    grant('sooner', { access_token_expires_at: at(15), refresh_due_at: at(5), status: 'in_doubt' }),
    grant('late', { access_token_expires_at: at(35), refresh_due_at: at(25) }),
    grant('later', { access_token_expires_at: at(100), refresh_due_at: at(90) }),
    grant('resting', { access_token_expires_at: at(10), refresh_due_at: null }),
    grant('rests until its refresh token ends', { access_token_expires_at: at(-10), refresh_due_at: at(600) }),
    grant('lapsed', { access_token_expires_at: at(-2), refresh_due_at: at(1), last_error: error }),
    grant('lost', { access_token_expires_at: at(100), refresh_due_at: at(2), refresh_token_expires_at: at(29) }),
    grant('ended', { status: 'reauthorization_required', access_token_expires_at: at(5), refresh_due_at: null }),
    grant('revoking', { status: 'revoking', access_token_expires_at: at(5) }),
  ]
  const { lapsing, lost, ...counts } = simulateOutage(grants, NOW, 30 * MINUTE)
  t.strictSame(
    [lapsing, lost].map(list => list.map(({ guid }) => guid)),
    [['sooner', 'noticed'], ['lost']],
  )
  t.strictSame(counts, {
    looked: 8,
    late: 2,
    resting: 2,
    lapsed: 1,
    harmlessNowMs: 15 * MINUTE,
    harmlessEverMs: 10 * MINUTE,
  })
  t.match(simulateOutage([], NOW, MINUTE), { looked: 0, harmlessNowMs: null, harmlessEverMs: null })
  t.match(simulateOutage(grants, NOW, MINUTE), { lapsing: [], lost: [], late: 0 })
})

t.test('progress: a bar that fits the terminal; elsewhere a line now and then', async t => {
  const shown = (output: { isTTY?: boolean; columns?: number }, note?: string) => {
    const written: string[] = []
    let nowMs = 0
    const progress = createProgress({ ...output, write: text => written.push(text) }, 'grants', () => nowMs)
    progress.show(0, 100)
    nowMs += 10_000
    progress.show(40, 100, note)
    progress.show(41, 100)
    progress.end()
    return written
  }
  t.strictSame(shown({}), ['40 of 100 grants\n'])
  t.strictSame(shown({}, 'waiting for 2'), ['40 of 100 grants, waiting for 2\n'])
  const bar = `[${'#'.repeat(12)}${'-'.repeat(18)}] 40%  40 of 100 grants`
  t.strictSame(shown({ isTTY: true, columns: 80 }), [`\r\x1b[K${bar}`, '\r\x1b[K'])
  for (const columns of [100, 60, 40, 30, 20, 10]) {
    const [line = ''] = shown({ isTTY: true, columns })
    t.ok(line.length - '\r\x1b[K'.length < columns, String(columns))
  }
})

t.test('where the gateway is, and who asks', async t => {
  const { readApiConfig } = await import('../../src/config.ts')
  const key = { GATEWAY_API_KEY: 'htgw_abc' }
  t.match(readApiConfig({}, key), { url: 'http://127.0.0.1:3000' })
  t.equal(
    readApiConfig({ url: 'https://g.example/' }, { ...key, GATEWAY_URL: 'http://other' }).url,
    'https://g.example',
  )
  for (const url of ['ftp://g', 'g', 'https://a:b@g', 'https://g?x', 'https://g#x']) {
    t.throws(() => readApiConfig({ url }, key), /GATEWAY_URL has to be/, url)
  }
  t.throws(() => readApiConfig({}, {}), /GATEWAY_API_KEY is missing/)
  t.throws(() => readApiConfig({}, { GATEWAY_API_KEY: 'two words' }), /GATEWAY_API_KEY has to be one API key/)
  t.throws(() => readApiConfig({ keyFile: '/nowhere' }, key), /cannot be read from GATEWAY_API_KEY_FILE \(ENOENT\)/)
  t.strictSame(wrong({}), [], 'serve does not look at these')
})
