/** `healthcheck`: for container engines, which ask by a command. */
import { get as getPlain } from 'node:http'
import { get as getSecure } from 'node:https'
import { type Environment, readListenConfig } from '../config.ts'

/** Shorter than container engines wait. */
const DEADLINE_MS = 2_500

/** Prints what is not well, or that all is. Returns the exit code: 0, or 1 where it is not well, or says nothing. Throws `ConfigError`. */
export async function healthcheck(
  what: 'live' | 'ready',
  print: (line: string) => void,
  environment?: Environment,
): Promise<number> {
  const { host, port, metricsPort, hasTls } = readListenConfig(environment)
  const isSecure = hasTls && metricsPort === null
  const address = { host: reachable(host), port: metricsPort ?? port, path: `/health/${what}` }
  try {
    const { status, text } = await ask(isSecure, address)
    print(text)
    return status === 200 ? 0 : 1
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    print(`no answer from ${address.host}:${address.port} (${code ?? message})`)
    return 1
  }
}

interface Answer {
  readonly status: number | undefined
  readonly text: string
}

function ask(isSecure: boolean, address: { host: string; port: number; path: string }): Promise<Answer> {
  // It asks itself: that the certificate is for another name than 127.0.0.1 says nothing about its health.
  const options = { ...address, agent: false, rejectUnauthorized: false, signal: AbortSignal.timeout(DEADLINE_MS) }
  return new Promise((resolve, reject) => {
    const request = (isSecure ? getSecure : getPlain)(options, response => {
      response.setEncoding('utf8')
      let text = ''
      response.on('data', chunk => {
        text += chunk
      })
      response.on('end', () => resolve({ status: response.statusCode, text }))
      response.on('error', reject)
    })
    request.on('error', reject)
  })
}

/** Whoever listens on all addresses is asked on this machine's own. */
function reachable(host: string): string {
  return { '0.0.0.0': '127.0.0.1', '::': '::1' }[host] ?? host
}
