/** A collector that speaks OTLP over HTTP: keeps what it gets, to be looked into where it came as JSON. */
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'

export interface CollectedSpan {
  readonly name: string
  readonly traceId: string
  readonly spanId: string
  /** '': it is the first of its trace. */
  readonly parentSpanId: string
  /** 1: internal, 2: server, 3: client. */
  readonly kind: number
  readonly attributes: Readonly<Record<string, string | number | boolean>>
  /** 0: unset, 2: failed. */
  readonly status: { readonly code?: number; readonly message?: string }
  readonly links: readonly { readonly traceId: string; readonly spanId: string }[]
  readonly events: readonly unknown[]
  /** What all spans of a process have in common. */
  readonly resource: Readonly<Record<string, string | number | boolean>>
}

export interface Collector {
  /** As `OTEL_EXPORTER_OTLP_ENDPOINT` takes it. */
  readonly url: string
  /** All that came, as it came; bytes as latin1. */
  bodies(): string
  /** Of the last request. */
  headers(): IncomingHttpHeaders | undefined
  path(): string | undefined
  spans(): readonly CollectedSpan[]
  /** The spans that fit, once there are so many; later ones are waited for. */
  some(count: number, fits: (span: CollectedSpan) => boolean): Promise<readonly CollectedSpan[]>
  /** From now on it answers so. 0: never. */
  answerWith(status: number): void
}

export async function startCollector(t: Test): Promise<Collector> {
  let status = 200
  let last: IncomingMessage | undefined
  const bodies: Buffer[] = []
  const spans: CollectedSpan[] = []
  let heard = () => {}

  const server = createServer(async (request, response) => {
    const body = Buffer.concat(await request.toArray())
    last = request
    bodies.push(body)
    if (status === 200 && /json/.test(request.headers['content-type'] ?? '')) spans.push(...spansIn(body))
    heard()
    if (status !== 0) response.writeHead(status, { 'content-type': request.headers['content-type'] }).end()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })

  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    bodies: () => Buffer.concat(bodies).toString('latin1'),
    headers: () => last?.headers,
    path: () => last?.url,
    spans: () => spans,
    async some(count, fits) {
      for (;;) {
        const found = spans.filter(fits)
        if (found.length >= count) return found
        await new Promise<void>(resolve => {
          heard = resolve
        })
      }
    },
    answerWith(next) {
      status = next
    },
  }
}

type Values = CollectedSpan['attributes']
type Pairs = readonly { readonly key: string; readonly value: Values }[]

/** As JSON: OTLP's `ExportTraceServiceRequest`. */
interface Exported {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: Pairs }
    readonly scopeSpans: readonly {
      readonly spans: readonly (Omit<CollectedSpan, 'attributes'> & { readonly attributes: Pairs })[]
    }[]
  }[]
}

function spansIn(body: Buffer): CollectedSpan[] {
  const { resourceSpans }: Exported = JSON.parse(body.toString())
  return resourceSpans.flatMap(({ resource, scopeSpans }) =>
    scopeSpans.flatMap(({ spans }) =>
      spans.map(span => ({
        ...span,
        parentSpanId: span.parentSpanId ?? '',
        attributes: record(span.attributes),
        links: span.links ?? [],
        events: span.events ?? [],
        status: span.status ?? {},
        resource: record(resource.attributes),
      })),
    ),
  )
}

function record(pairs: Pairs): Values {
  return Object.fromEntries(pairs.map(({ key, value }) => [key, Object.values(value)[0] ?? '']))
}
