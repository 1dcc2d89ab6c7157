/** Preloaded into a process (`--import`), says at its end, on standard error, which packages of OpenTelemetry it has loaded. */
import { createRequire } from 'node:module'

process.on('exit', () => {
  const files = Object.keys(createRequire(import.meta.url).cache)
  const packages = files.flatMap(file => /node_modules\/(@opentelemetry\/[^/]+|@fastify\/otel)\//.exec(file)?.[1] ?? [])
  process.stderr.write(`loaded: ${[...new Set(packages)].sort().join()}\n`)
})
