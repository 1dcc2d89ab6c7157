/** A connection between one gateway and one server that can be cut, held, or refused, and that tells whose connections are whose. */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

interface Link {
  readonly client: Socket
  readonly upstream: Socket
  /** Whether the client waits for an answer, as far as the order of the data tells. */
  isAsking: boolean
  /** Whether it has carried an answer: a server closes a connection that has been used, not one that was just opened. */
  isUsed: boolean
  /** Whether it was closed in the ordinary way: what the client still sends is not read by anything. */
  isClosed: boolean
}

export class Wire {
  readonly #server: Server
  readonly #links = new Set<Link>()
  /** The ports from which this wire has connected to the server. */
  readonly ports = new Set<number>()
  #port = 0
  #isHeld = false

  private constructor(target: number) {
    this.#server = createServer(client => this.#join(client, target))
  }

  static async to(target: number): Promise<Wire> {
    const wire = new Wire(target)
    await wire.#listen(0)
    return wire
  }

  get port(): number {
    return this.#port
  }

  /** Every connection breaks, and new ones are refused. */
  cut(): void {
    this.#server.close()
    for (const link of this.#links) destroy(link)
  }

  /** New connections are refused, idle ones are closed in the ordinary way, requests under way end as they would. */
  refuse(): void {
    this.#server.close()
    this.closeIdle()
  }

  /** Nothing passes in either direction, and both ends still see an open connection. */
  hold(): void {
    this.#isHeld = true
    for (const { client, upstream } of this.#links) {
      client.pause()
      upstream.pause()
    }
  }

  /** Idle connections are closed in the ordinary way, as a server does after a time. */
  closeIdle(): void {
    for (const link of this.#links) {
      if (link.isAsking || !link.isUsed) continue
      link.isClosed = true
      link.upstream.destroy()
      link.client.end()
    }
  }

  async heal(): Promise<void> {
    this.#isHeld = false
    for (const { client, upstream } of this.#links) {
      client.resume()
      upstream.resume()
    }
    if (!this.#server.listening) await this.#listen(this.#port)
  }

  close(): void {
    this.cut()
  }

  async #listen(port: number): Promise<void> {
    this.#server.listen(port, '127.0.0.1')
    await once(this.#server, 'listening')
    this.#port = (this.#server.address() as AddressInfo).port
  }

  #join(client: Socket, target: number): void {
    const upstream = connect(target, '127.0.0.1')
    const link: Link = { client, upstream, isAsking: false, isUsed: false, isClosed: false }
    this.#links.add(link)
    upstream.once('connect', () => this.ports.add(upstream.localPort ?? 0))
    client.on('data', chunk => {
      // As a server does that has closed its side: the request is refused by a reset, and never read.
      if (link.isClosed) {
        client.resetAndDestroy()
        return
      }
      link.isAsking = true
      upstream.write(chunk)
    })
    upstream.on('data', chunk => {
      link.isAsking = false
      link.isUsed = true
      client.write(chunk)
    })
    client.on('end', () => upstream.end())
    upstream.on('end', () => client.end())
    for (const socket of [client, upstream]) {
      socket.setNoDelay(true)
      socket.on('error', () => {})
      socket.on('close', () => {
        if (link.isClosed && socket === upstream) return
        destroy(link)
        this.#links.delete(link)
      })
      if (this.#isHeld) socket.pause()
    }
  }
}

function destroy({ client, upstream }: Link): void {
  client.destroy()
  upstream.destroy()
}
