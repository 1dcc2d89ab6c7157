import type { Invariant } from '../history.ts'
import { codesAreSpentOnce } from './codes-are-spent-once.ts'
import { deletedStaysDeleted } from './deleted-stays-deleted.ts'
import { endsHaveCauses } from './ends-have-causes.ts'
import { noOrphans } from './no-orphans.ts'
import { oneUserPerName } from './one-user-per-name.ts'
import { reportedNeverAgain } from './reported-never-again.ts'
import { tokensAreGood } from './tokens-are-good.ts'
import { versionAndPair } from './version-and-pair.ts'
import { versionsNeverGoBack } from './versions-never-go-back.ts'

/** What must hold for every history, by name. */
export const INVARIANTS = {
  'version and pair are one to one': versionAndPair,
  'versions never go back': versionsNeverGoBack,
  'a reported token is never answered again': reportedNeverAgain,
  'a token that is answered is good': tokensAreGood,
  'no pair is orphaned': noOrphans,
  'deleted stays deleted': deletedStaysDeleted,
  'one user for each username': oneUserPerName,
  'a grant that ended has a cause': endsHaveCauses,
  'a code is spent once': codesAreSpentOnce,
} as const satisfies Record<string, Invariant>
