/** Listeners beside the main one, each for a part of the routes: browsers and monitoring need not get near the API. */
import type { IncomingMessage, RequestListener, Server } from 'node:http'
import { Server as SecureServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { Tls } from './config.ts'
import { createLimitedServer, type HttpLimits, refuseUnreadable } from './http-limits.ts'
import type { Clock } from './ports/clock.ts'
import { contextForBrowsers, tlsForBrowsers } from './tls.ts'

/** `public`: `/tap-in/*` alone. `metrics`: `/metrics` and `/health/*` alone. */
export type Door = 'public' | 'metrics'

export type DoorPorts = Readonly<Partial<Record<Door, number>>>
export type DoorAddresses = Readonly<Partial<Record<Door, string>>>

export interface Doors {
  /** Which door a request came through; undefined: the main one. */
  of(request: IncomingMessage): Door | undefined
  /** Opens those that have a port. Rejects where a port cannot be had; what is open by then is closed by `close`. */
  open(host: string, ports: DoorPorts, listener: RequestListener): Promise<DoorAddresses>
  /** Another certificate, for connections to come. */
  useTls(tls: Tls): void
  /** No more connections from now on; resolves when the last answer is out. */
  close(): Promise<void>
  /** Whatever is not out by now stays in. */
  cutOff(): void
}

/** `tls` null: plain HTTP. The public door speaks it where the main listener does: a code comes through it. */
export function createDoors(limits: HttpLimits, tls: Tls | null, clock: Clock): Doors {
  const tlsOf = { public: tls === null ? null : tlsForBrowsers(tls), metrics: null }
  const cameThrough = new WeakMap<IncomingMessage, Door>()
  const servers: Server[] = []

  async function openOne(door: Door, host: string, port: number, listener: RequestListener): Promise<string> {
    const server = createLimitedServer(limits, tlsOf[door], (request, response) => {
      cameThrough.set(request, door)
      listener(request, response)
    })
    server.on('clientError', refuseUnreadable(clock))
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen({ host, port }, () => {
        server.removeListener('error', reject)
        resolve()
      })
    })
    servers.push(server)
    return addressOf(server)
  }

  return {
    of: request => cameThrough.get(request),
    async open(host, ports, listener) {
      const addresses: Partial<Record<Door, string>> = {}
      for (const door of ['public', 'metrics'] as const) {
        const port = ports[door]
        if (port !== undefined) addresses[door] = await openOne(door, host, port, listener)
      }
      return addresses
    },
    useTls(next) {
      for (const server of servers) {
        if (server instanceof SecureServer) server.setSecureContext(contextForBrowsers(next))
      }
    },
    async close() {
      await Promise.all(servers.map(server => new Promise(resolve => server.close(resolve))))
    },
    cutOff() {
      for (const server of servers) server.closeAllConnections()
    },
  }
}

/** Of one that listens. */
export function addressOf(server: Server): string {
  const { address, family, port } = server.address() as AddressInfo
  const scheme = server instanceof SecureServer ? 'https' : 'http'
  return `${scheme}://${family === 'IPv6' ? `[${address}]` : address}:${port}`
}
