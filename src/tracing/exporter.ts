import { OTLPExporterBase } from '@opentelemetry/otlp-exporter-base'
import { createOtlpHttpExportDelegate, httpAgentFactoryFromOptions } from '@opentelemetry/otlp-exporter-base/node-http'
import {
  JsonTraceSerializer,
  ProtobufTraceSerializer,
  TraceExporterMetricsHelper,
} from '@opentelemetry/otlp-transformer'
import type { SpanExporter } from '@opentelemetry/sdk-trace'
import type { TracesConfig } from '../config.ts'
import { VERSION } from '../version.ts'

/** With a few tries in it, where the collector is busy or away. */
const EXPORT_WITHIN_MS = 10_000
const MOST_EXPORTS = 4

const PROTOCOLS = {
  'http/json': { type: 'application/json', serializer: JsonTraceSerializer },
  'http/protobuf': { type: 'application/x-protobuf', serializer: ProtobufTraceSerializer },
} as const

/** By settings of ours alone: the library's ready-made exporter reads the environment, and prints what it does not like there. */
export function createExporter({ endpoint, headers, protocol }: TracesConfig): SpanExporter {
  const { type, serializer } = PROTOCOLS[protocol]
  const revealed = Object.entries(headers).map(([name, secret]) => [name, secret.reveal()])
  const options = {
    url: `${endpoint}/v1/traces`,
    headers: async () => ({ ...Object.fromEntries(revealed), 'content-type': type }),
    timeoutMillis: EXPORT_WITHIN_MS,
    concurrencyLimit: MOST_EXPORTS,
    compression: 'none',
    agentFactory: httpAgentFactoryFromOptions({ keepAlive: true }),
    userAgent: `healthtap-gateway/${VERSION}`,
  } as const
  return new OTLPExporterBase(
    createOtlpHttpExportDelegate(options, serializer, 'otlp_http_span_exporter', TraceExporterMetricsHelper, undefined),
  )
}
