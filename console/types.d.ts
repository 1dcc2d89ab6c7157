/** What the API answers, from the schemas that its routes have. */
import type { Static } from 'typebox'
import type * as schemas from '../src/schemas/index.ts'
import type * as overview from '../src/schemas/overview.ts'

export type Grant = Static<typeof schemas.Grant>
export type GrantList = Static<typeof schemas.GrantList>
export type Check = Static<typeof schemas.HealthCheck>
export type Problem = Static<typeof schemas.Problem>
export type Overview = Static<typeof overview.Overview>

/** `from` null: whatever was before `to`. */
export interface Stretch {
  readonly from: string | null
  readonly to: string
  readonly count: number
}

/** How something stands: a colour, and always a symbol and words with it. */
export type Tone = 'good' | 'warning' | 'bad' | 'quiet'
