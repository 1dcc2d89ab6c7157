import { Agent, request } from 'undici'
import type { ServeConfig } from '../../config.ts'
import { reasonOf } from '../reason.ts'
import { type Check, failed, named, ok, unknown } from './check.ts'

const WITHIN_MS = 2_000

/** Whether `serve` can listen where it is told to, or does so already. Nothing is opened to find out: a gateway may be starting. */
export async function portChecks(config: ServeConfig): Promise<readonly Check[]> {
  const all = [
    { setting: 'PORT', port: config.port, scheme: config.tls === null ? 'http' : 'https' },
    { setting: 'PUBLIC_PORT', port: config.publicPort ?? 0, scheme: config.tls === null ? 'http' : 'https' },
    { setting: 'METRICS_PORT', port: config.metricsPort ?? 0, scheme: 'http' },
  ].filter(({ port }) => port !== 0)
  const conflicts = all.flatMap(({ setting, port }, index) => {
    const first = all.slice(0, index).find(other => other.port === port)
    return first === undefined ? [] : [failed(`${setting} and ${first.setting} are both ${port}: take another one`)]
  })
  if (conflicts.length > 0) return named('ports', conflicts, ok(''))
  const lines = await Promise.all(all.map(({ setting, port, scheme }) => lineOf(setting, scheme, config.host, port)))
  return lines.map(line => ({ name: 'ports', ...line }))
}

async function lineOf(setting: string, scheme: string, host: string, port: number) {
  const place = `${setting} ${port}`
  const found = await whoListens(`${scheme}://${reachableAs(host)}:${port}`)
  switch (found) {
    case 'gateway':
      return ok(`${place}: a gateway listens there`)
    case 'nobody':
      return ok(`${place}: free`)
    case 'other':
      return failed(`${place}: something else listens there; stop it, or take another port`)
    default:
      return unknown(`${place}: cannot be asked (${found})`)
  }
}

/** Of any route, a gateway answers its own kind of JSON; also of one that is behind another door. */
async function whoListens(url: string): Promise<string> {
  // It is asked what it is, and told nothing.
  const agent = new Agent({ connect: { rejectUnauthorized: false, timeout: WITHIN_MS } })
  try {
    const signal = AbortSignal.timeout(WITHIN_MS)
    const { body, statusCode } = await request(`${url}/health/live`, { dispatcher: agent, signal })
    const text = await body.text()
    const isOurs = statusCode === 200 ? /"checks":\[\{"name":"process"/.test(text) : text.includes(PROBLEM)
    return isOurs ? 'gateway' : 'other'
  } catch (error) {
    const reason = reasonOf(error)
    if (reason === 'ECONNREFUSED') return 'nobody'
    return reason === 'EADDRNOTAVAIL' || reason === 'ENOTFOUND' ? reason : 'other'
  } finally {
    await agent.destroy()
  }
}

const PROBLEM = '"type":"urn:healthtap-gateway:problem:'

function reachableAs(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1'
  if (host === '::') return '[::1]'
  return host.includes(':') ? `[${host}]` : host
}
