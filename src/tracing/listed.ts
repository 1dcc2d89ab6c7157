import { SpanKind, SpanStatusCode } from '@opentelemetry/api'
import type { ReadableSpan } from '@opentelemetry/sdk-trace'

/** All that spans may bear. Libraries add more: the address of a request, with its query, and the text of errors. */
export const LISTED: ReadonlySet<string> = new Set([
  'db.operation.name',
  'db.system.name',
  'error.type',
  'http.request.method',
  'http.response.status_code',
  'http.route',
  'url.full',
  'htgw.caller',
  'htgw.elsewhere',
  'htgw.guid',
  'htgw.lane',
  'htgw.operation',
  'htgw.outcome',
  'htgw.reason',
  'htgw.problem',
  'htgw.request_id',
  'htgw.result',
  'htgw.version',
])

/** Takes away from a span that has ended what is not listed. A server's span has failed by a 5xx alone: the conventions have it so. */
export function keepListed({ attributes, events, kind, status }: ReadableSpan): void {
  for (const name of Object.keys(attributes)) if (!LISTED.has(name)) delete attributes[name]
  events.length = 0
  delete status.message
  if (kind === SpanKind.SERVER && Number(attributes['http.response.status_code']) < 500) {
    status.code = SpanStatusCode.UNSET
  }
}
