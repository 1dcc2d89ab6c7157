/** What is done to the processes, and to the provider. Each waits until it has really hit. */
import type { Chaos } from './chaos.ts'

export const WAYS = [
  'kill a gateway',
  'kill all gateways while requests are on the wire',
  'kill all gateways before they can commit',
  'kill a gateway right after a commit',
  'stop a gateway past its lease',
  'end a gateway while Redis is away',
  'kill Redis',
  'pause Redis',
  'fail over',
  'provider outage',
  'outage of refreshes alone',
  'too many requests',
  'lose answers',
  '500 after the commit',
  'refuse credentials',
] as const

export type Way = (typeof WAYS)[number]

/** By these an answer gets lost, or who has it dies with it. A grant that ends soon after none of them is lost by our fault. */
export const LOSSY: ReadonlySet<Way> = new Set<Way>([
  'kill a gateway',
  'kill all gateways while requests are on the wire',
  'kill all gateways before they can commit',
  'kill a gateway right after a commit',
  'lose answers',
  '500 after the commit',
])

/** The gateways run with a deadline of 1 s, so the lease is 6 s. */
const PAST_THE_LEASE_MS = 8_000

export async function strike(chaos: Chaos, way: Way): Promise<void> {
  if (!chaos.can(way)) return
  chaos.struck(way)
  switch (way) {
    case 'kill a gateway':
      await chaos.kill([chaos.anyGateway()])
      break
    case 'kill all gateways while requests are on the wire':
      await chaos.sandbox.addFault({ operation: 'refresh', kind: 'latency', latency_ms: 900 })
      await chaos.untilHit('latency', 3)
      await chaos.kill(chaos.gateways)
      break
    case 'kill all gateways before they can commit':
      await chaos.pauseWrites(1_500)
      await chaos.untilRefreshed(2)
      await chaos.kill(chaos.gateways)
      break
    case 'kill a gateway right after a commit':
      await chaos.kill([await chaos.untilCommitted()])
      break
    case 'stop a gateway past its lease': {
      const gateway = chaos.anyGateway()
      gateway.child.kill('SIGSTOP')
      await chaos.quiet(PAST_THE_LEASE_MS)
      gateway.child.kill('SIGCONT')
      break
    }
    case 'end a gateway while Redis is away':
      await chaos.pauseWrites(6_000)
      await chaos.untilRefreshed(1)
      await chaos.terminate(chaos.anyGateway())
      break
    case 'kill Redis':
      await chaos.restartRedis()
      break
    case 'pause Redis':
      await chaos.signalRedis('SIGSTOP')
      await chaos.quiet(4_000)
      await chaos.signalRedis('SIGCONT')
      break
    case 'fail over':
      await chaos.failOver()
      break
    case 'provider outage':
      for (const operation of ['refresh', 'exchange', 'users', 'revoke'] as const)
        await chaos.sandbox.addFault({ operation, kind: 'status_before', status: 503 })
      await chaos.quiet(8_000)
      break
    case 'outage of refreshes alone':
      await chaos.sandbox.addFault({ operation: 'refresh', kind: 'status_before', status: 503 })
      await chaos.quiet(8_000)
      break
    case 'too many requests':
      await chaos.sandbox.addFault({ operation: 'refresh', kind: 'rate_limited', retry_after: 2 })
      await chaos.quiet(6_000)
      break
    case 'lose answers':
      await chaos.sandbox.addFault({ operation: 'refresh', kind: 'drop_after', times: 2 })
      await chaos.untilHit('drop_after', 2)
      break
    case '500 after the commit':
      await chaos.sandbox.addFault({ operation: 'refresh', kind: 'status_after', times: 2 })
      await chaos.untilHit('status_after', 2)
      break
    case 'refuse credentials':
      await chaos.withAnotherSecret(() => chaos.quiet(6_000))
      break
  }
  await chaos.recover().catch(error => {
    throw new Error(`after "${way}"`, { cause: error })
  })
}
