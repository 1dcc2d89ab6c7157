import { connect } from 'node:net'
import type { RedisAddress } from '../../store/redis/connection.ts'
import { type Check, failed, named, ok, warning } from './check.ts'

const WITHIN_MS = 2_000

/** Of several addresses, whether each is there: one that is not is noticed when the others fail. */
export async function addressChecks(address: RedisAddress): Promise<readonly Check[]> {
  if (address.kind === 'single') return []
  const { kind, nodes } = address
  const answers = await Promise.all(nodes.map(({ host, port }) => listens(host, port)))
  const away = nodes.filter((_, index) => answers[index] === false).map(({ host, port }) => `${host}:${port}`)
  const what = kind === 'sentinel' ? 'sentinels' : 'nodes'
  const lost = `${away.join(', ')} cannot be reached: start them, or take them out of REDIS_URL`
  const few = `${nodes.length} in REDIS_URL: a fail-over takes three sentinels, so that two can agree; name all of them`
  const lines = [
    ...(away.length === nodes.length ? [failed(lost)] : away.length > 0 ? [warning(lost)] : []),
    ...(kind === 'sentinel' && nodes.length < 3 ? [warning(few)] : []),
  ]
  return named(`redis ${what}`, lines, ok(`${nodes.length} of ${nodes.length} can be reached`))
}

function listens(host: string, port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect({ host, port, timeout: WITHIN_MS })
    const end = (isThere: boolean) => {
      socket.destroy()
      resolve(isThere)
    }
    socket.once('connect', () => end(true))
    socket.once('timeout', () => end(false))
    socket.once('error', () => end(false))
  })
}
