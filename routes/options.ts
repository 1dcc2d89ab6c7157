import type { Broker } from '../src/broker/broker.ts'
import type { Clock } from '../src/ports/clock.ts'

/** What every route is given. */
export interface RouteOptions {
  readonly broker: Broker
  readonly clock: Clock
}
