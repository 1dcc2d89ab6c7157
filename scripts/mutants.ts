/** What somebody might get wrong in the engine. `find` stands once in `file`. */
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
    find: 'const definite = isRejected && (base.doubtUntilMs === null || base.doubtUntilMs <= nowMs)',
    replace: 'const definite = isRejected',
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
    find: 'if (lifeLeftMs(grant) < neededMs(grant, wishedTtlMs)) return',
    replace: 'if (lifeLeftMs(grant) < -1e9) return',
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
    find: 'return (current.authorizedAtMs ?? 0) > authorizedAtMs',
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
    find: '    dueAtMs: failure.retryAtMs,\n',
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
]
