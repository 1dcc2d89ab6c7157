/** What a change of the engine might get wrong. `find` stands once in `file`. */
export interface Mutant {
  readonly name: string
  readonly file: string
  readonly find: string
  readonly replace: string
}

const GRANT = 'src/broker/grant.ts'
const RENEWAL = 'src/broker/renewal.ts'
const TOKENS = 'src/broker/tokens.ts'
const SIGHTINGS = 'src/store/sightings.ts'
const GRANTS = 'src/broker/grants.ts'
const LEFTOVERS = 'src/broker/leftovers.ts'
const PROVISIONING = 'src/broker/provisioning.ts'
const EXCHANGE = 'src/broker/exchange.ts'
const REVOCATION = 'src/broker/revocation.ts'

export const mutants: readonly Mutant[] = [
  {
    name: 'the version is not looked at again once the lease is taken',
    file: RENEWAL,
    find: "    if (!isSameVersion(grant, seen)) return { kind: 'current', grant }\n",
    replace: '',
  },
  {
    name: 'the lease is not looked at',
    file: GRANT,
    find: 'return grant.attempt !== null && grant.attempt.leaseUntilMs > nowMs',
    replace: 'return false',
  },
  {
    name: 'the lease is shorter than the deadline',
    file: GRANT,
    find: 'const leaseUntilMs = nowMs + by.leaseMs',
    replace: 'const leaseUntilMs = nowMs + by.leaseMs / 20',
  },
  {
    name: 'a pair is committed whatever stands there',
    file: RENEWAL,
    find: 'won = grant !== null && isReplacedBy(grant, rotation)',
    replace: 'won = grant !== null',
  },
  {
    name: 'a pair is committed by its version alone, whichever refresh token brought it',
    file: GRANT,
    find: 'return isSpent && (!isLeft || grant.version === rotation.replacesVersion)',
    replace: 'return grant.version === rotation.replacesVersion',
  },
  {
    name: 'the store does not compare before it sets',
    file: 'src/store/memory.ts',
    find: '    if ((current?.revision ?? ABSENT) !== ifRevision) return { ok: false, current }\n',
    replace: '',
  },
  {
    name: 'the store forgets at once what was removed',
    file: 'src/store/memory.ts',
    find: 'untilMs: clock.now() + REMOVAL_REMEMBERED_MS',
    replace: 'untilMs: clock.now()',
  },
  {
    name: 'any failure ends a grant',
    file: RENEWAL,
    find: "const isRejected = failure.kind === 'rejected'",
    replace: 'const isRejected = true',
  },
  {
    name: 'refused credentials end a grant',
    file: RENEWAL,
    find: "if (failure.kind === 'client_refused') return released(grant, nowMs)",
    replace: "if (failure.kind === 'client_refused') return ended(grant, nowMs)",
  },
  {
    name: 'refused credentials are told to readers as an end',
    file: RENEWAL,
    find: "const isRejected = failure.kind === 'rejected'",
    replace: "const isRejected = failure.kind === 'rejected' || failure.kind === 'client_refused'",
  },
  {
    name: 'a newer version is not adopted before a grant is ended',
    file: RENEWAL,
    find: '        if (grant.version !== base.version) {\n          adopted = grant\n          return keep\n        }\n        isOvertaken = !isOurs(grant, base)\n        if (isOvertaken) return keep\n',
    replace: '',
  },
  {
    name: 'a grant is ended although somebody else may still bring its pair',
    file: RENEWAL,
    find: 'return doubtUntilMs === null || doubtUntilMs <= clock.now()',
    replace: 'return doubtUntilMs === doubtUntilMs',
  },
  {
    name: 'the request is sent however long ago the lease was taken',
    file: RENEWAL,
    find: 'if (issuedAtMs - (grant.attempt?.startedAtMs ?? 0) > policy.sendWithinMs) return await giveBack(begun)',
    replace: 'void giveBack',
  },
  {
    name: 'a grant that was ended is not revived by the pair that comes late',
    file: RENEWAL,
    find: 'won = grant !== null && isReplacedBy(grant, rotation)',
    replace: "won = grant !== null && grant.status !== 'reauthorization_required' && isReplacedBy(grant, rotation)",
  },
  {
    name: 'the answer is given up when the store does not take it at once',
    file: 'src/broker/context.ts',
    find: '      if (context.closing.aborted) throw error\n',
    replace: '      throw error\n',
  },
  {
    name: 'what cannot be stored is not put into the journal',
    file: 'src/broker/journal-entry.ts',
    find: '    if (isKept) return\n',
    replace: '    return\n',
  },
  {
    name: 'the journal is not replayed',
    file: 'src/broker/broker.ts',
    find: 'of await ports.journal.entries()',
    replace: 'of (await ports.journal.entries()).slice(0, 0)',
  },
  {
    name: 'the pair of a loser is forgotten',
    file: RENEWAL,
    find: '    discard(guid, rotation.pair, rotation.accessTokenExpiresAtMs)\n',
    replace: '',
  },
  {
    name: 'a token is served without a look at its expiry',
    file: TOKENS,
    find: "if (grant.status === 'reauthorization_required' || lifeLeftMs(grant) < neededMs(grant, wishedTtlMs))",
    replace: "if (grant.status === 'reauthorization_required' || lifeLeftMs(grant) < -1e9)",
  },
  {
    name: 'a grant that is being revoked is served',
    file: 'src/broker/context.ts',
    find: "if (grant === null || grant.status === 'revoking') {",
    replace: 'if (grant === null) {',
  },
  {
    name: 'an expired grant is revoked without being renewed first',
    file: 'src/broker/revocation.ts',
    find: 'const isTooOld = grant.accessTokenExpiresAtMs - clock.now() < REVOCABLE_LIFE_MS',
    replace: 'const isTooOld = grant.accessTokenExpiresAtMs < 0',
  },
  {
    name: 'an earlier authorization may replace a later one',
    file: GRANT,
    find: 'return isLater(current.authorizedAtMs ?? 0, authorizedAtMs, nowMs)',
    replace: 'return false',
  },
  {
    name: 'what a fail-over lost is not written again',
    file: GRANT,
    find: 'current.version < newer.version &&',
    replace: 'current.version < 0 &&',
  },
  {
    name: 'an ended attempt leaves the grant without a next try',
    file: GRANT,
    find: '    dueAtMs: dueUnlessEnded(grant, failure.retryAtMs),\n',
    replace: '    dueAtMs: null,\n',
  },
  {
    name: 'the breaker never closes',
    file: 'src/broker/breaker.ts',
    find: 'if (open !== null) return void turn(null)\n',
    replace: '\n',
  },
  {
    name: 'readers are not told what came of a renewal elsewhere, and do not look',
    file: 'src/broker/context.ts',
    find: 'await Promise.race([settled, context.clock.sleep(Math.min(LOOK_AGAIN_MS, leftMs), heard.signal)])',
    replace: 'await context.clock.sleep(leftMs, heard.signal)',
  },
  {
    name: 'memory: a word of a change empties nothing',
    file: SIGHTINGS,
    find: '    seen?.delete(guid)\n    const readers',
    replace: '    const readers',
  },
  {
    name: 'memory: what was read while it changed is kept',
    file: SIGHTINGS,
    find: '&& !readers.isChanged && stored !== null',
    replace: '&& stored !== null',
  },
  {
    name: 'memory: what was seen counts as current for good',
    file: SIGHTINGS,
    find: 'return ageMs >= 0 && ageMs < SIGHTING_LASTS_MS ? sighting.grant : undefined',
    replace: 'return sighting.grant',
  },
  {
    name: 'memory: a grant that somebody renews is kept',
    file: SIGHTINGS,
    find: "return attempt === null && (status === 'active' || status === 'in_doubt')",
    replace: "return attempt === attempt && (status === 'active' || status === 'in_doubt')",
  },
  {
    name: 'import: the pair that stands is a new version',
    file: GRANTS,
    find: "if (isTheSame && by.origin !== 'authorization_code') {",
    replace: "if (isTheSame && by.origin === 'authorization_code') {",
  },
  {
    name: 'import: a pair that is being deleted calls the deletion off',
    file: GRANTS,
    find: "if (isTheSame && by.origin !== 'authorization_code') {",
    replace: "if (isTheSame && current.status !== 'revoking' && by.origin !== 'authorization_code') {",
  },
  {
    name: 'retired pairs: a retired pair is stored',
    file: GRANTS,
    find: 'return mayBeOld ? { retires, retiresForMs, unlessRetired: own } : { retires, retiresForMs }',
    replace: 'return mayBeOld ? { retires } : { retires, retiresForMs }',
  },
  {
    name: 'retired pairs: a later authorization retires none',
    file: GRANTS,
    find: 'return mayBeOld ? { retires, retiresForMs, unlessRetired: own } : { retires, retiresForMs }',
    replace: 'return mayBeOld ? { unlessRetired: own } : { retires: retires.slice(0, 0), retiresForMs }',
  },
  {
    name: 'retired pairs: a deletion retires none',
    file: REVOCATION,
    find: '{ retires: importableFingerprints(grant) }',
    replace: '{ retires: importableFingerprints(grant).slice(2) }',
  },
  {
    name: 'leftovers: a refresh leaves no predecessor behind',
    file: LEFTOVERS,
    find: "keepsPredecessor: () => mode !== 'instant',",
    replace: 'keepsPredecessor: () => false,',
  },
  {
    name: 'leftovers: a replaced pair is not one',
    file: GRANT,
    find: "const replaced = current.status === 'reauthorization_required' ? [] : [leftoverOf(current, null, nowMs)]",
    replace: 'const replaced = [leftoverOf(current, null, nowMs)].slice(1)',
  },
  {
    name: 'leftovers: a deletion does not end them',
    file: REVOCATION,
    find: '      if (grant.leftovers !== undefined) {\n',
    replace: '      if (grant.leftovers?.length === -1) {\n',
  },
  {
    name: 'leftovers: one observation makes the mode certain',
    file: LEFTOVERS,
    find: 'if (deadInARow >= OBSERVATIONS)',
    replace: 'if (deadInARow >= 1)',
  },
  {
    name: 'leftovers: a predecessor is ended by the use of whichever pair stands',
    file: LEFTOVERS,
    find: 'const use = successor === null ? null : await ending.use(successor)',
    replace: "const use = successor === null ? null : 'accepted'",
  },
  {
    name: 'leftovers: they are never ended in the background',
    file: LEFTOVERS,
    find: 'if (!retiring.aborted) void track(guid, pursue(guid))',
    replace: 'if (retiring.aborted) void track(guid, pursue(guid))',
  },
  {
    name: 'a pair that came too late for its person is not given back',
    file: GRANTS,
    find: '    discards.discard(by.guid, pair, accessTokenExpiresAtMs)\n',
    replace: '    void accessTokenExpiresAtMs\n',
  },
  {
    name: 'the pair that a client reported is answered again',
    file: TOKENS,
    find: 'isAlive(candidate) && candidate.version !== version',
    replace: 'isAlive(candidate) && candidate.version !== -version',
  },
  {
    name: 'exchange: a code is sent again when its answer was lost',
    file: EXCHANGE,
    find: "if (failure.kind === 'unknown') return await turnedAway(attempt, problem)\n",
    replace: '',
  },
  {
    name: 'exchange: a code counts as spent although the provider never got it',
    file: EXCHANGE,
    find: "if (failure.kind === 'unknown') return await turnedAway(attempt, problem)",
    replace:
      "if (failure.kind === 'unknown' || failure.kind === 'unavailable') return await turnedAway(attempt, problem)",
  },
  {
    name: 'exchange: each replica sends the code',
    file: EXCHANGE,
    find: 'if (known === null || isUnused(known, key)) {',
    replace: "if (known === null || known.status === 'under_way') {",
  },
  {
    name: 'provisioning: a user in doubt counts as taken',
    file: PROVISIONING,
    find: 'const isDoubtful = !isTaken && (mine.inDoubt || failure.kind === ',
    replace: 'const isDoubtful = !isTaken && (mine.inDoubt !== mine.inDoubt || failure.kind === ',
  },
  {
    name: 'provisioning: each try in doubt has a password of its own',
    file: PROVISIONING,
    find: "if (known.status === 'in_doubt') return { ...mine, password: known.password, inDoubt: true }",
    replace:
      "if (known.status === 'in_doubt') return { ...mine, password: new Secret(random.token(PASSWORD_BYTES)), inDoubt: true }",
  },
  {
    name: 'provisioning: each replica makes the user',
    file: PROVISIONING,
    find: 'return known.leaseUntilMs <= clock.now() ?',
    replace: 'return known.leaseUntilMs > 0 ?',
  },
  {
    name: 'provisioning: a doubt is not settled by the password',
    file: PROVISIONING,
    find: 'if (!client.passwordGrant || !isDoubtful) return made',
    replace: 'if (isDoubtful || !isDoubtful) return made',
  },
  {
    name: 'provisioning: a name outlives the grant of its user',
    file: PROVISIONING,
    find: 'if (grant !== null && isCalled(grant, username)) {',
    replace: "if (known.guid !== '') {",
  },
  {
    name: 'the password grant is never asked for',
    file: RENEWAL,
    find: "const isOver = outcome.kind === 'rejected' && isDefinite(begun.record) && mayRestore(begun.record)",
    replace: "const isOver = outcome.kind === 'conflict' && mayRestore(begun.record)",
  },
  {
    name: 'a failure of the password grant ends the grant',
    file: RENEWAL,
    find: "const isOver = outcome.kind === 'rejected' || NOT_OFFERED.has(outcome.upstream.error ?? '')",
    replace: 'const isOver = true',
  },
  {
    name: 'a token that seems to be issued from now on is answered',
    file: 'src/broker/policy.ts',
    find: 'if (nowMs < issuedAtMs - CLOCKS_DIFFER_BY_MS) return 0\n',
    replace: '',
  },
]
