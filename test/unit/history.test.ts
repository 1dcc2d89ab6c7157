/** Each invariant of the history check, with a small history that violates it and one that does not. */
import t from 'tap'
import {
  type AtRest,
  type Call,
  type Entry,
  type Event,
  type Fault,
  historyOf,
  type Invariant,
  type Pair,
  type Presentation,
  type ProviderRequest,
  type Setup,
} from '../../scripts/history/history.ts'
import { INVARIANTS } from '../../scripts/history/invariants/index.ts'
import { judge, told } from '../../scripts/history/report.ts'

const ADA = 'a'.repeat(32)
const BOB = 'b'.repeat(32)

const setup = (more: Partial<Setup> = {}): Setup => ({
  kind: 'setup',
  line: 0,
  rotation: 'instant',
  passwordGrant: false,
  seed: 1,
  minutes: 1,
  ...more,
})

const token = (pair: string, version: number, guid = ADA) => ({ guid, version, pair, expiresInSeconds: 5 })

/** A read of Ada's token at gateway 0, which takes 10 ms. */
const call = (beganMs: number, more: Partial<Call> = {}): Call => ({
  kind: 'call',
  line: 0,
  client: 'client 0',
  gateway: 0,
  operation: 'read',
  beganMs,
  endedMs: beganMs + 10,
  status: 200,
  code: null,
  guid: ADA,
  asked: {},
  tokens: [],
  grants: [],
  problems: [],
  ...more,
})

const answered = (beganMs: number, pair: string, version: number, more: Partial<Call> = {}): Call =>
  call(beganMs, { tokens: [token(pair, version)], ...more })

const deleted = (beganMs: number, more: Partial<Call> = {}): Call =>
  call(beganMs, { operation: 'delete', status: 204, ...more })

const fault = (beganMs: number, more: Partial<Fault> = {}): Fault => ({
  kind: 'fault',
  line: 0,
  fault: 'kill',
  name: 'SIGKILL',
  gateway: 0,
  beganMs,
  endedMs: beganMs + 1_000,
  ...more,
})

const pair = (name: string, more: Partial<Pair> = {}): Pair => ({
  kind: 'pair',
  line: 0,
  pair: name,
  guid: ADA,
  issuedMs: 0,
  expiresMs: 10_000,
  parent: null,
  refreshed: 0,
  died: null,
  ...more,
})

const request = (brought: string | null, more: Partial<ProviderRequest> = {}): ProviderRequest => ({
  kind: 'request',
  line: 0,
  operation: 'refresh',
  port: 1,
  gateway: 0,
  reachedMs: 0,
  subject: null,
  outcome: 'ok',
  brought,
  committedMs: 5,
  endedMs: 10,
  answer: 'whole',
  ...more,
})

/** A client made this pair at the provider itself. It lives for 10 s. */
const madeByClient = (name: string): Entry[] => [pair(name), request(name, { gateway: null, operation: 'exchange' })]

/** A client imports the pair, and says that it lives for 9 s. */
const imported = (name: string, beganMs: number, more: Partial<Call> = {}): Call =>
  call(beganMs, { operation: 'import', asked: { pair: name, expiresInSeconds: 9 }, ...more })

/** The provider ignores the revocation of an expired pair. */
const ignoredRevocation = (subject: string, reachedMs: number): ProviderRequest =>
  request(null, { operation: 'revoke', outcome: 'no_effect', subject, reachedMs, endedMs: reachedMs + 10 })

const present = (of: Call, name: string, more: Partial<Presentation> = {}): Presentation => ({
  kind: 'present',
  line: 0,
  call: of.line,
  pair: name,
  beganMs: of.endedMs,
  endedMs: of.endedMs + 5,
  status: 401,
  ...more,
})

const rest = (name: string | null, more: Partial<AtRest> = {}): AtRest => ({
  kind: 'rest',
  line: 0,
  guid: ADA,
  status: 'active',
  version: 1,
  origin: 'authorization_code',
  pair: name,
  ...more,
})

const event = (type: string, atMs: number, more: Partial<Event> = {}): Event => ({
  kind: 'event',
  line: 0,
  gateway: 0,
  atMs,
  type,
  guid: ADA,
  details: {},
  ...more,
})

/** What the invariant says about these entries. */
function saysOf(invariant: Invariant, entries: readonly Entry[]): string[] {
  const all = entries.some(({ kind }) => kind === 'setup') ? entries : [setup(), ...entries]
  return invariant(historyOf(all)).map(({ what }) => what)
}

interface Example {
  readonly title: string
  readonly entries: readonly Entry[]
}

/** What the report says must contain `says`, in each of `bad`; `good` must be silent. */
function holds(name: keyof typeof INVARIANTS, bad: readonly (Example & { says: RegExp })[], good: readonly Example[]) {
  t.test(name, async t => {
    const invariant = INVARIANTS[name]
    for (const { title, entries, says } of bad) t.match(saysOf(invariant, entries), [says], `violated: ${title}`)
    for (const { title, entries } of good) t.strictSame(saysOf(invariant, entries), [], `kept: ${title}`)
  })
}

holds(
  'version and pair are one to one',
  [
    {
      title: 'one version is two pairs',
      entries: [answered(0, 'one', 1), answered(20, 'two', 1)],
      says: /version 1 of aaaaaaaa is the pairs one and two/,
    },
    {
      title: 'a life that has ended is answered of, and no Redis was away',
      entries: [deleted(100, { gateway: 1 }), answered(200, 'one', 1), answered(250, 'two', 1, { gateway: 1 })],
      says: /version 1 of aaaaaaaa is the pairs one and two/,
    },
    {
      title: 'one pair is two versions, also in two lives',
      entries: [answered(0, 'one', 1), deleted(20), answered(40, 'one', 2)],
      says: /the pair one of aaaaaaaa is the versions 1 and 2/,
    },
  ],
  [
    { title: 'each version is a pair', entries: [answered(0, 'one', 1), answered(20, 'two', 2)] },
    { title: 'a new life counts anew', entries: [answered(0, 'one', 1), deleted(20), answered(40, 'two', 1)] },
    {
      title: 'a DELETE without an answer may have ended the life',
      entries: [answered(0, 'one', 1), deleted(20, { status: null }), answered(40, 'two', 1)],
    },
    {
      title: 'a gateway that is cut from its Redis answers from memory of a life that has ended',
      entries: [
        fault(0, { fault: 'redis', name: 'Redis cut from one gateway', endedMs: 5_000 }),
        deleted(100, { gateway: 1 }),
        answered(200, 'one', 1),
        answered(250, 'two', 1, { gateway: 1 }),
      ],
    },
  ],
)

holds(
  'versions never go back',
  [
    {
      title: 'a later read is answered an older version',
      entries: [answered(0, 'two', 2), answered(20, 'one', 1)],
      says: /aaaaaaaa went back from version 2 to 1/,
    },
    {
      title: 'the DELETE came after both',
      entries: [answered(0, 'two', 2), answered(20, 'one', 1), deleted(40)],
      says: /went back/,
    },
  ],
  [
    { title: 'the reads overlap', entries: [answered(0, 'two', 2), answered(5, 'one', 1)] },
    {
      title: 'the grant was deleted in between',
      entries: [answered(0, 'two', 2), deleted(20), answered(40, 'one', 1)],
    },
    {
      title: 'the Redis of this gateway was away',
      entries: [answered(0, 'two', 2), answered(20, 'one', 1), fault(0, { fault: 'redis' })],
    },
  ],
)

const reported = (more: Partial<Call> = {}) =>
  answered(20, 'two', 2, { operation: 'report', asked: { version: 1, pair: 'one' }, ...more })

holds(
  'a reported token is never answered again',
  [
    {
      title: 'the report itself is answered it',
      entries: [reported({ tokens: [token('one', 2)] })],
      says: /the token one of aaaaaaaa, reported as version 1, was answered as version 2 to the report itself/,
    },
    { title: 'a later read is', entries: [reported(), answered(40, 'one', 1)], says: /10 ms later/ },
  ],
  [
    { title: 'another token is answered', entries: [reported(), answered(40, 'two', 2)] },
    { title: 'the read began before the report was answered', entries: [reported(), answered(25, 'one', 1)] },
    {
      title: 'the report failed',
      entries: [reported({ status: 503, tokens: [] }), answered(40, 'one', 1)],
    },
  ],
)

const presented = answered(100, 'one', 1, { line: 7 })

holds(
  'a token that is answered is good',
  [
    { title: 'it is not known', entries: [answered(0, 'one', 1)], says: /is none of the provider's/ },
    {
      title: 'it is another person’s',
      entries: [answered(0, 'one', 1), pair('one', { guid: BOB })],
      says: /belongs to bbbbbbbb/,
    },
    {
      title: 'it had expired',
      entries: [answered(20_000, 'one', 1), pair('one')],
      says: /had expired 10000 ms before/,
    },
    {
      title: 'it claims more than it lives',
      entries: [answered(8_000, 'one', 1), pair('one')],
      says: /claims 3000 ms more than it lives/,
    },
    {
      title: 'it was revoked before the call began',
      entries: [presented, present(presented, 'one'), pair('one', { died: { atMs: 50, by: 'revoke' } })],
      says: /was refused: its pair had ended by revoke 50 ms before the call began/,
    },
    {
      title: 'it was replaced long ago, and the answer that replaced it arrived',
      entries: [
        answered(5_000, 'one', 1, { line: 7 }),
        present(answered(5_000, 'one', 1, { line: 7 }), 'one'),
        pair('one', { died: { atMs: 5, by: 'refresh' } }),
        request('two', { subject: 'one' }),
      ],
      says: /ended by refresh 4995 ms before/,
    },
  ],
  [
    { title: 'it is', entries: [answered(0, 'one', 1), pair('one')] },
    {
      title: 'it was replaced while it was read',
      entries: [presented, present(presented, 'one'), pair('one', { died: { atMs: 105, by: 'refresh' } })],
    },
    {
      title: 'the answer that replaced it was lost',
      entries: [
        answered(5_000, 'one', 1, { line: 7 }),
        present(answered(5_000, 'one', 1, { line: 7 }), 'one'),
        pair('one', { died: { atMs: 5, by: 'refresh' } }),
        request('two', { subject: 'one', answer: 'lost' }),
      ],
    },
    {
      title: 'an import said that it lives so long',
      entries: [imported('one', 4_000), answered(8_000, 'one', 1), pair('one')],
    },
  ],
)

holds(
  'no pair is orphaned',
  [
    {
      title: 'a pair lives that no grant has',
      entries: [pair('one'), pair('two'), rest('two')],
      says: /the pair one of aaaaaaaa lives at the provider, and no grant has it/,
    },
    {
      title: 'its answer reached a gateway that ran on',
      entries: [pair('one'), pair('two'), rest('two'), request('one')],
      says: /refresh by gateway 0/,
    },
    {
      title: 'another gateway was killed',
      entries: [pair('one'), pair('two'), rest('two'), request('one'), fault(500, { gateway: 1 })],
      says: /the pair one/,
    },
    {
      title: 'its gateway was killed long before it sent the request',
      entries: [pair('one'), rest('two'), request('one', { reachedMs: 5_000, endedMs: 5_010 }), fault(3_000)],
      says: /the pair one/,
    },
    {
      title: 'its gateway was told to stop before it sent the request, so it had to store the answer',
      entries: [
        pair('one'),
        rest('two'),
        request('one', { reachedMs: 5_000, endedMs: 5_010 }),
        fault(4_800, { fault: 'terminate', name: 'SIGTERM' }),
      ],
      says: /the pair one/,
    },
    {
      title: 'its import came late, and it was revoked even later than it was believed to live',
      entries: [...madeByClient('one'), rest('two'), imported('one', 50_000), ignoredRevocation('one', 60_000)],
      says: /the pair one/,
    },
    {
      title: 'an import was read at once, and its pair lives',
      entries: [...madeByClient('one'), rest('two'), imported('one', 20), ignoredRevocation('one', 12_000)],
      says: /the pair one/,
    },
    {
      title: 'it was answered to clients, so it had been stored when the gateway was killed',
      entries: [
        pair('one'),
        pair('two', { parent: 'one' }),
        rest('two'),
        request('one'),
        answered(200, 'one', 1),
        fault(500),
      ],
      says: /answered to clients/,
    },
  ],
  [
    {
      title: 'each pair that lives is a grant’s',
      entries: [pair('one', { died: { atMs: 5, by: 'use' } }), rest('two')],
    },
    {
      title: 'its answer was dropped',
      entries: [pair('one'), pair('two'), rest('two'), request('one', { answer: 'lost' })],
    },
    { title: 'its gateway was killed', entries: [pair('one'), pair('two'), rest('two'), request('one'), fault(500)] },
    {
      title: 'its gateway had been killed when a slow provider took the request up',
      entries: [pair('one'), rest('two'), request('one', { reachedMs: 5_000, endedMs: 5_010 }), fault(4_800)],
    },
    {
      title: 'a client has repeated its import when it had expired',
      entries: [...madeByClient('one'), rest('two'), imported('one', 50_000), ignoredRevocation('one', 52_000)],
    },
    {
      title: 'a stopped gateway has read its import late, and had it revoked when it had expired',
      entries: [
        ...madeByClient('one'),
        rest('two'),
        imported('one', 20, { endedMs: 9_000 }),
        ignoredRevocation('one', 12_000),
      ],
    },
    {
      title: 'a client made it and no import of it was taken',
      entries: [
        pair('one'),
        request('one', { gateway: null, operation: 'exchange' }),
        call(20, { operation: 'import', status: 409, asked: { pair: 'one' } }),
      ],
    },
    {
      title: 'revoking it failed five times, by a fault',
      entries: [
        pair('one'),
        rest('two'),
        request('one'),
        event('pair.revoked', 500, { details: { confirmed: false } }),
        fault(100, { fault: 'provider', gateway: null, name: 'connections refused' }),
      ],
    },
  ],
)

holds(
  'deleted stays deleted',
  [
    {
      title: 'a token of the deleted life is answered',
      entries: [answered(0, 'one', 1), deleted(20), answered(40, 'one', 1)],
      says: /of the deleted life, 10 ms after the 204/,
    },
    {
      title: 'a successor of it is',
      entries: [
        answered(0, 'one', 1),
        deleted(20),
        answered(40, 'two', 2),
        pair('one'),
        pair('two', { parent: 'one', died: { atMs: 50, by: 'use' } }),
        rest('one'),
      ],
      says: /of the deleted life/,
    },
    {
      title: 'a token is answered that no client asked for',
      entries: [deleted(20), answered(40, 'one', 1)],
      says: /no client has authorized it again/,
    },
    {
      title: 'a pair of the deleted life lives',
      entries: [pair('one'), deleted(20)],
      says: /lives although its grant was deleted/,
    },
  ],
  [
    {
      title: 'the person signed in again',
      entries: [
        answered(0, 'one', 1),
        deleted(20),
        answered(40, 'two', 1, { operation: 'exchange' }),
        answered(60, 'two', 1),
      ],
    },
    {
      title: 'the pair was imported again',
      entries: [
        answered(0, 'one', 1),
        deleted(20),
        call(40, { operation: 'import', asked: { pair: 'one' } }),
        answered(60, 'one', 1),
      ],
    },
    {
      title: 'the DELETE was not confirmed',
      entries: [answered(0, 'one', 1), deleted(20, { status: 202 }), answered(40, 'one', 1)],
    },
  ],
)

const provisioned = (guid: string) =>
  call(0, { operation: 'provision', guid: null, asked: { username: 'ada' }, tokens: [token('one', 1, guid)] })

holds(
  'one user for each username',
  [
    {
      title: 'two users were answered',
      entries: [provisioned(ADA), provisioned(BOB)],
      says: /the username ada was answered the users aaaaaaaa and bbbbbbbb/,
    },
    {
      title: 'two users were made',
      entries: [
        request('one', { operation: 'users', subject: 'ada' }),
        request('two', { operation: 'users', subject: 'ada' }),
      ],
      says: /the provider made 2 users for ada/,
    },
  ],
  [
    {
      title: 'one was',
      entries: [provisioned(ADA), provisioned(ADA), request('one', { operation: 'users', subject: 'ada' })],
    },
  ],
)

holds(
  'a grant that ended has a cause',
  [
    {
      title: 'no answer was lost',
      entries: [event('grant.ended', 100), pair('one'), request('two', { subject: 'one' })],
      says: /aaaaaaaa was ended, and no answer to it was lost/,
    },
    {
      title: 'an answer was lost, of another grant',
      entries: [
        event('grant.ended', 100),
        pair('one', { guid: BOB }),
        request('two', { subject: 'one', answer: 'lost' }),
      ],
      says: /no answer to it was lost/,
    },
    {
      title: 'it ended in on_use mode',
      entries: [
        setup({ rotation: 'on_use' }),
        event('grant.ended', 100),
        pair('one'),
        pair('two', { parent: 'one' }),
        request('two', { subject: 'one', answer: 'lost' }),
      ],
      says: /was ended, in on_use mode/,
    },
    {
      title: 'a caller was told so, after an import of a dead pair',
      entries: [
        pair('one', { died: { atMs: 5, by: 'refresh' } }),
        call(20, { operation: 'import', asked: { pair: 'one' }, line: 3 }),
        call(40, { status: 409, code: 'reauthorization_required' }),
      ],
      says: /after an import of a dead pair was taken \(line 3\)/,
    },
    {
      title: 'it was provisioned, and the password grant is on',
      entries: [
        setup({ passwordGrant: true }),
        rest(null, { status: 'reauthorization_required', origin: 'provisioning' }),
      ],
      says: /is lost although the password grant is on/,
    },
  ],
  [
    {
      title: 'an answer to it was lost before',
      entries: [
        event('grant.ended', 100),
        pair('one'),
        pair('two', { parent: 'one' }),
        request('two', { subject: 'one', answer: 'lost' }),
      ],
    },
    {
      title: 'its gateway was killed with the answer',
      entries: [
        event('grant.ended', 5_000),
        pair('one'),
        pair('two', { parent: 'one' }),
        request('two', { subject: 'one' }),
        fault(500),
      ],
    },
  ],
)

const exchange = (beganMs: number, more: Partial<Call> = {}): Call =>
  call(beganMs, { operation: 'exchange', guid: null, asked: { code: 'code' }, ...more })
const sent = (reachedMs: number, more: Partial<ProviderRequest> = {}) =>
  request('one', { operation: 'exchange', subject: 'code', reachedMs, ...more })

holds(
  'a code is spent once',
  [
    {
      title: 'it was answered two grants',
      entries: [exchange(0, { tokens: [token('one', 1)] }), exchange(20, { tokens: [token('two', 1, BOB)] })],
      says: /the code code was answered the grants aaaaaaaa and bbbbbbbb/,
    },
    {
      title: 'it was sent again',
      entries: [exchange(0), sent(2, { answer: 'lost' }), sent(6)],
      says: /was sent again although it may have been spent/,
    },
    {
      title: 'it never reached the provider, and is called spent',
      entries: [exchange(0, { status: 504, code: 'outcome_unknown' })],
      says: /never reached the provider, and was answered outcome_unknown/,
    },
  ],
  [
    {
      title: 'it was answered one grant, twice',
      entries: [exchange(0, { tokens: [token('one', 1)] }), exchange(20, { tokens: [token('one', 1)] }), sent(2)],
    },
    {
      title: 'it was refused before anything was done, and sent again',
      entries: [exchange(0), sent(2, { outcome: null, answer: 'whole' }), sent(6)],
    },
    {
      title: 'its answer was lost',
      entries: [exchange(0, { status: 504, code: 'outcome_unknown' }), sent(2, { answer: 'lost' })],
    },
    {
      title: 'the gateway that had noted it was killed',
      entries: [exchange(0, { status: 504, code: 'outcome_unknown' }), fault(5)],
    },
  ],
)

t.test('the report names each violation, with the lines that show it', async t => {
  const entries = [
    setup(),
    answered(0, 'one', 1, { line: 1 }),
    answered(20, 'two', 1, { line: 2 }),
    pair('one'),
    pair('two'),
  ]
  const judgement = judge(historyOf([...entries, rest('two'), rest(null, { guid: BOB, status: 'in_doubt', line: 9 })]))
  const lines = told(judgement, line => `the line ${line}`)
  t.match(judgement.figures, { 'pairs orphaned, by cause': { none: 1 }, calls: { 'read 200': 2 } })
  t.ok(lines.includes('VIOLATION version and pair are one to one: 1 times'))
  t.ok(lines.includes('    2: the line 2'))
  t.ok(lines.includes('VIOLATION everything comes to rest: 1 times'))
})
