/** How it stands with all grants together, in one cheap answer: what was counted last, and a few reads. */
import type { Clock } from '../ports/clock.ts'
import type { Backlog, Inventory } from '../ports/inventory.ts'
import type { Grant } from '../ports/records.ts'
import { RecordUnreadable } from '../ports/store.ts'
import { needsAttention } from './attention.ts'
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
  /** Grants whose refresh fails again and again, by the last count, as they stand now. null: no count says. */
  readonly failing: readonly Grant[] | null
}

export interface Overviews {
  /** `isShown`: whether who asks may see this grant. Throws `StoreUnavailable`. */
  look(isShown: (grant: Grant) => boolean): Promise<Overview>
}

const MOST_LISTED = 20

interface OverviewPorts {
  readonly clock: Clock
  readonly inventory: Pick<Inventory, 'backlog'>
  readonly census: Pick<Counting, 'latest'>
  readonly grants: Pick<Grants, 'find'>
}

export function createOverviews({ clock, inventory, census, grants }: OverviewPorts): Overviews {
  /** The first of them that `find` answers and that may be shown. */
  async function listed<Item>(
    items: readonly Item[],
    find: (item: Item) => Promise<Grant | null>,
    isShown: (grant: Grant) => boolean,
  ): Promise<Grant[]> {
    const found: Grant[] = []
    for (let start = 0; start < items.length && found.length < MOST_LISTED; start += MOST_LISTED) {
      const some = await Promise.all(items.slice(start, start + MOST_LISTED).map(find))
      found.push(...some.filter(grant => grant !== null).filter(isShown))
    }
    return found.slice(0, MOST_LISTED)
  }

  async function readable(guid: string): Promise<Grant | null> {
    return await grants.find(guid).catch(error => {
      if (error instanceof RecordUnreadable) return null
      throw error
    })
  }

  async function unrenewed({ guid, accessTokenExpiresAtMs }: Expiring): Promise<Grant | null> {
    const grant = await readable(guid)
    const isAlive = grant?.status === 'active' || grant?.status === 'in_doubt'
    return isAlive && grant.accessTokenExpiresAtMs === accessTokenExpiresAtMs ? grant : null
  }

  async function stillFailing(guid: string): Promise<Grant | null> {
    const grant = await readable(guid)
    return grant !== null && needsAttention(grant) ? grant : null
  }

  return {
    async look(isShown) {
      const nowMs = clock.now()
      const [backlog, counted] = await Promise.all([inventory.backlog(nowMs), census.latest()])
      const survey = counted?.survey ?? null
      const [soonest, failing] = await Promise.all([
        survey && listed(survey.soonest, unrenewed, isShown),
        survey?.attention ? listed(survey.attention.guids, stillFailing, isShown) : null,
      ])
      return { nowMs, backlog, counted, soonest, failing }
    },
  }
}
