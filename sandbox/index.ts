import { once } from 'node:events'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { buildSandbox, type SandboxOptions } from './app.ts'

export type { SandboxOptions } from './app.ts'

export interface RunningSandbox {
  /** Where it listens, without a slash at the end. */
  readonly url: string
  readonly app: FastifyInstance
  close(): Promise<void>
}

/** A second listener, for clients that talk to a provider by TLS alone. */
export interface SandboxTls {
  readonly port: number
  /** PEM, as the key is. */
  readonly cert: string
  readonly key: string
}

export interface SandboxListeners {
  /** Default: 127.0.0.1. */
  readonly host?: string
  /** 0: a free one. */
  readonly port: number
  /** Absent: plain HTTP alone. */
  readonly tls?: SandboxTls
  /** Default: false. Whether `host` may be any address: for a network that nobody else is in, as that of a few containers. */
  readonly beyondThisMachine?: boolean
}

const LOOPBACK = ['127.0.0.1', '::1', 'localhost']

/** Starts a sandbox. It believes any name at its consent page, so it listens on this machine, unless told otherwise twice. */
export async function startSandbox(options: SandboxOptions & SandboxListeners): Promise<RunningSandbox> {
  const { host = '127.0.0.1', port, tls, beyondThisMachine = false, ...sandboxOptions } = options
  if (!beyondThisMachine && !LOOPBACK.includes(host)) {
    throw new Error(`sandbox: host must be one of ${LOOPBACK.join(', ')}, because it believes any name; got ${host}`)
  }
  const app = buildSandbox(sandboxOptions)
  await app.listen({ host, port })
  const closeTls = tls === undefined ? null : await listenWithTls(app, host, tls)
  const { port: boundPort } = app.server.address() as AddressInfo
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${boundPort}`,
    app,
    close: async () => {
      closeTls?.()
      await app.close()
    },
  }
}

async function listenWithTls(app: FastifyInstance, host: string, { port, cert, key }: SandboxTls): Promise<() => void> {
  const server = createServer({ cert, key }, app.routing).listen(port, host)
  await once(server, 'listening')
  return () => {
    server.close()
    server.closeAllConnections()
  }
}
