/** What kept a request from being answered: the system's code, or the error's kind; its text may quote what was sent. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown'
  if (error instanceof AggregateError && error.errors.length > 0) return reasonOf(error.errors[0])
  if (error.cause instanceof Error) return reasonOf(error.cause)
  return (error as NodeJS.ErrnoException).code?.toString() ?? error.name
}
