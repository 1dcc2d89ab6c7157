/** Something that must not be. The requests that led to it are added by who has made them. */
export class Violation extends Error {
  override readonly name = 'Violation'
}

export function demand(holds: unknown, message: () => string): asserts holds {
  if (!holds) throw new Violation(message())
}
