/** Grants whose refresh fails again and again: which these are, and how operators are told. */
import { pino } from 'pino'
import { Registry } from 'prom-client'
import t from 'tap'
import { auditedEvents } from '../../src/audit/events.ts'
import { type AuditEntry, noAudit } from '../../src/audit/log.ts'
import { needsAttention } from '../../src/broker/attention.ts'
import { countingFrom } from '../../src/broker/counts.ts'
import { ATTENTION_AFTER_ATTEMPTS } from '../../src/broker/policy.ts'
import { countedIn, keptCounts } from '../../src/broker/survey.ts'
import { createLogger, loggedEvents } from '../../src/logging.ts'
import { countedEvents } from '../../src/metrics/broker.ts'
import type { BrokerEvent } from '../../src/ports/events.ts'
import type { GrantSketch } from '../../src/ports/inventory.ts'

const AT_MS = Date.UTC(2026, 10, 23, 12, 17, 30)
const EVENT: BrokerEvent = {
  type: 'grant.needs_attention',
  guid: 'ada',
  version: 7,
  code: 'provider_response_invalid',
  attempts: ATTENTION_AFTER_ATTEMPTS,
}

function failing(guid: string, attempts: number, status: GrantSketch['status'] = 'active'): GrantSketch {
  return {
    guid,
    status,
    accessTokenExpiresAtMs: AT_MS + 1_000,
    dueAtMs: AT_MS,
    isTroubled: attempts > 0,
    lastRefreshedAtMs: null,
    lastError: attempts === 0 ? null : { code: 'provider_unavailable', attempts },
  }
}

t.test('five failures in a row, of a grant that is to be kept alive', async t => {
  t.equal(ATTENTION_AFTER_ATTEMPTS, 5)
  for (const [attempts, status, expected] of [
    [0, 'active', false],
    [4, 'active', false],
    [5, 'active', true],
    [6, 'in_doubt', true],
    [9, 'reauthorization_required', false],
    [9, 'revoking', false],
  ] as const) {
    t.equal(needsAttention(failing('ada', attempts, status)), expected, `${attempts} ${status}`)
  }
})

t.test('all are counted, and some are named once each', async t => {
  const counting = countingFrom(AT_MS)
  for (let index = 0; index < 100; index += 1) counting.add(failing(`failing-${index % 90}`, 5 + index), AT_MS)
  for (let index = 0; index < 100; index += 1) counting.add(failing(`calm-${index}`, index % 5), AT_MS)
  const { survey } = countedIn(keptCounts(counting.counted()))
  t.equal(survey?.attention?.count, 100)
  t.equal(survey?.attention?.guids.length, 60)
  t.ok(survey?.attention?.guids.every((guid, index) => guid === `failing-${index}`))

  const { attention: _, ...earlier } = counting.counted().survey ?? { attention: null }
  const kept = { ...keptCounts(counting.counted()), survey: JSON.stringify(earlier) }
  t.equal(countedIn(kept).survey?.attention, null, 'a replica of an earlier version has counted')
})

t.test('the log says what has happened, and what to do', async t => {
  const lines: string[] = []
  loggedEvents(createLogger('warn', { write: line => void lines.push(line) })).emit(EVENT)
  t.equal(lines.length, 1)
  t.match(JSON.parse(lines[0] ?? ''), {
    level: 'warn',
    msg: 'grant.needs_attention',
    guid: 'ada',
    version: 7,
    code: 'provider_response_invalid',
    attempts: 5,
    detail: /has failed 5 times in a row.*provider_response_invalid.*see GrantsNeedAttention in docs\/metrics\.md/,
  })
  t.notMatch(lines[0], /undefined/)
  loggedEvents(pino({ enabled: false })).emit(EVENT)
})

t.test('it is counted, and audited with the code of the last failure', async t => {
  const registry = new Registry()
  const counted = countedEvents([registry])
  t.match(await registry.metrics(), /^htgw_attention_events_total 0$/m)
  counted.emit(EVENT)
  t.match(await registry.metrics(), /^htgw_attention_events_total 1$/m)

  const entries: AuditEntry[] = []
  const audited = auditedEvents({ ...noAudit, record: entry => void entries.push(entry) })
  audited.emit(EVENT)
  audited.emit({ type: 'grant.ended', guid: 'bob', version: 2, afterDoubt: false })
  audited.emit({ type: 'grant.rested', guid: 'eve', version: 3 })
  t.strictSame(entries, [
    { event: 'grant.needs_attention', by: 'gateway', guid: 'ada', version: 7, outcome: 'provider_response_invalid' },
    { event: 'grant.ended', by: 'gateway', guid: 'bob', version: 2, outcome: 'reauthorization_required' },
  ])
})
