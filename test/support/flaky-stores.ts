import { type GrantStore, RecordUnreadable, type Stores, StoreUnavailable } from '../../src/ports/store.ts'
import { createMemoryStores } from '../../src/store/memory.ts'

/** Memory stores that can be taken away, have one grant that does not open, or forget all grants, as a fail-over may. */
export class FlakyStores {
  isAway = false
  unreadable: string | null = null
  readonly stores: Stores
  // Expiry does not matter here: no record of these tests lives that long.
  readonly #clock = { now: () => 1 }
  #grants: GrantStore

  constructor() {
    const stores = createMemoryStores(this.#clock)
    this.#grants = stores.grants
    this.stores = {
      ...stores,
      grants: {
        read: guid => this.#of(guid, () => this.#grants.read(guid)),
        readMany: guids => guids.map(guid => this.#of(guid, () => this.#grants.read(guid))),
        standing: guid => this.#of(guid, () => this.#grants.standing(guid)),
        write: (...write) => this.#of(write[0], () => this.#grants.write(...write)),
        claimDue: claim => this.#of(null, () => this.#grants.claimDue(claim)),
        list: page => this.#of(null, () => this.#grants.list(page)),
        settled: (guid, signal) => this.#grants.settled(guid, signal),
      },
    }
  }

  /** Another server takes over, to which no grant has come yet. */
  forgetGrants(): void {
    this.#grants = createMemoryStores(this.#clock).grants
  }

  async #of<T>(guid: string | null, work: () => Promise<T>): Promise<T> {
    if (this.isAway) throw new StoreUnavailable('away')
    if (guid !== null && guid === this.unreadable) throw new RecordUnreadable('altered', null, guid)
    return await work()
  }
}
