/** Deliberate faults in the gateway, each with the invariant that a real run has to see violated by it. */
import type { Edit } from '../mutated-copy.ts'
import type { INVARIANTS } from './invariants/index.ts'

export interface HistoryMutant {
  readonly name: string
  readonly violates: keyof typeof INVARIANTS
  readonly edits: readonly Edit[]
}

export const historyMutants: readonly HistoryMutant[] = [
  {
    name: 'a rotation leaves the version as it is',
    violates: 'version and pair are one to one',
    edits: [{ file: 'src/broker/grant.ts', find: 'version: grant.version + 1,', replace: 'version: grant.version,' }],
  },
  {
    name: 'memory: a change elsewhere is not heard',
    violates: 'versions never go back',
    edits: [
      {
        file: 'src/store/sightings.ts',
        find: '    seen?.delete(guid)\n    const readers',
        replace: '    const readers',
      },
      { file: 'src/store/sightings.ts', find: 'SIGHTING_LASTS_MS = 2_000', replace: 'SIGHTING_LASTS_MS = 8_000' },
    ],
  },
  {
    name: 'a report is answered like a read',
    violates: 'a reported token is never answered again',
    edits: [
      {
        file: 'src/broker/tokens.ts',
        find: 'if (grant.version !== version) return await read(guid, null)',
        replace: 'if (version > 0) return await read(guid, null)',
      },
    ],
  },
  {
    name: 'tokens are believed to live three times as long',
    violates: 'a token that is answered is good',
    edits: [
      {
        file: 'src/broker/grant.ts',
        find: 'accessTokenExpiresAtMs: issuedAtMs + lifetimeMs(policy, answer),',
        replace: 'accessTokenExpiresAtMs: issuedAtMs + 3 * lifetimeMs(policy, answer),',
      },
    ],
  },
  {
    name: 'a replaced pair is not revoked',
    violates: 'no pair is orphaned',
    edits: [
      {
        file: 'src/broker/discards.ts',
        find: 'for (let tries = 0; tries < TRIES &&',
        replace: 'for (let tries = TRIES; tries < TRIES &&',
      },
    ],
  },
  {
    name: 'DELETE does not tell the provider',
    violates: 'deleted stays deleted',
    edits: [
      {
        file: 'src/broker/revocation.ts',
        find: '() => provider.revoke(grant.pair.refreshToken)',
        replace: '() => provider.probe()',
      },
    ],
  },
  {
    name: 'each gateway makes a user of its own for a name',
    violates: 'one user for each username',
    edits: [
      {
        file: 'src/broker/provisioning.ts',
        find: 'return known.leaseUntilMs <= clock.now() ? { ...mine,',
        replace: 'return known.leaseUntilMs > 0 ? { ...mine,',
      },
      {
        file: 'src/provider/healthtap.ts',
        find: '{ ...attributes, username, password: password.reveal() }',
        // biome-ignore lint/suspicious/noTemplateCurlyInString: it is code.
        replace: '{ ...attributes, username: `${username} of ${process.pid}`, password: password.reveal() }',
      },
    ],
  },
  {
    name: 'any failure of a refresh ends the grant',
    violates: 'a grant that ended has a cause',
    edits: [
      {
        file: 'src/broker/renewal.ts',
        find: "const isRejected = failure.kind === 'rejected'",
        replace: 'const isRejected = true',
      },
    ],
  },
  {
    name: 'a code is sent again when its answer was lost',
    violates: 'a code is spent once',
    edits: [
      {
        file: 'src/broker/exchange.ts',
        find: "if (failure.kind === 'unknown') return await turnedAway(attempt, problem)",
        replace: "if (attempt.key === '') return await turnedAway(attempt, problem)",
      },
    ],
  },
]
