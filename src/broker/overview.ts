/** How it stands with all grants together, in one cheap answer: what was counted last, and a few reads. */
import type { Clock } from '../ports/clock.ts'
import type { Backlog, Inventory } from '../ports/inventory.ts'
import type { Grant } from '../ports/records.ts'
import { RecordUnreadable } from '../ports/store.ts'
import type { Counting } from './census.ts'
import type { Grants } from './grants.ts'
import type { Counted, Expiring } from './survey.ts'

export interface Overview {
  readonly nowMs: number
  readonly backlog: Backlog
  /** null: nobody has counted lately. */
  readonly counted: Counted | null
  /**
   * Of the grants to be kept alive, those whose access tokens expire first, by the last count, as they stand now. Those that were
   * renewed since, or have ended, are left out. null: no count says.
   */
  readonly soonest: readonly Grant[] | null
}

export interface Overviews {
  /** `isShown`: whether who asks may see this grant. Throws `StoreUnavailable`. */
  look(isShown: (grant: Grant) => boolean): Promise<Overview>
}

const MOST_SOONEST = 20

interface OverviewPorts {
  readonly clock: Clock
  readonly inventory: Pick<Inventory, 'backlog'>
  readonly census: Pick<Counting, 'latest'>
  readonly grants: Pick<Grants, 'find'>
}

export function createOverviews({ clock, inventory, census, grants }: OverviewPorts): Overviews {
  async function standing(expiring: readonly Expiring[], isShown: (grant: Grant) => boolean): Promise<Grant[]> {
    const found: Grant[] = []
    for (let start = 0; start < expiring.length && found.length < MOST_SOONEST; start += MOST_SOONEST) {
      const some = await Promise.all(expiring.slice(start, start + MOST_SOONEST).map(unrenewed))
      found.push(...some.filter(grant => grant !== null).filter(isShown))
    }
    return found.slice(0, MOST_SOONEST)
  }

  async function unrenewed({ guid, accessTokenExpiresAtMs }: Expiring): Promise<Grant | null> {
    const grant = await grants.find(guid).catch(error => {
      if (error instanceof RecordUnreadable) return null
      throw error
    })
    const isAlive = grant?.status === 'active' || grant?.status === 'in_doubt'
    return isAlive && grant.accessTokenExpiresAtMs === accessTokenExpiresAtMs ? grant : null
  }

  return {
    async look(isShown) {
      const nowMs = clock.now()
      const [backlog, counted] = await Promise.all([inventory.backlog(nowMs), census.latest()])
      const survey = counted?.survey ?? null
      const soonest = survey && (await standing(survey.soonest, isShown))
      return { nowMs, backlog, counted, soonest }
    },
  }
}
