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

const LOOPBACK = ['127.0.0.1', '::1', 'localhost']

/**
 * Starts a sandbox. It believes any name without a password, so it listens on this machine only: a `host` (default
 * 127.0.0.1) that is no loopback address throws. `port` 0 takes a free one.
 */
export async function startSandbox(
  options: SandboxOptions & { readonly host?: string; readonly port: number },
): Promise<RunningSandbox> {
  const { host = '127.0.0.1', port, ...sandboxOptions } = options
  if (!LOOPBACK.includes(host)) {
    throw new Error(`sandbox: host must be one of ${LOOPBACK.join(', ')}, because it has no passwords; got ${host}`)
  }
  const app = buildSandbox(sandboxOptions)
  await app.listen({ host, port })
  const { port: boundPort } = app.server.address() as AddressInfo
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${boundPort}`,
    app,
    close: async () => {
      await app.close()
    },
  }
}
