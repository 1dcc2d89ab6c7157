/**
 * Short-lived tokens, real processes, a reader who never stops: gateways as `serve` runs them, a real Redis, the sandbox.
 * Every read has to be answered 200 with a token that the sandbox accepts (asked once more where a renewal came in
 * between), and the sandbox has to count one refresh for each rotation. `npm run soak -- --seconds 120`; exits 1 if not.
 */
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { type SandboxDriver, startDriven } from '../sandbox/driver.ts'
import { newCaller, newEncryptionKey } from '../src/cli/keys.ts'
import { endAll, freePort, print, ready, start } from './processes.ts'

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '120' },
    lifetime: { type: 'string', default: '8' },
    'every-ms': { type: 'string', default: '100' },
  },
})

for (const rotation of ['instant', 'on_use'] as const) {
  for (const gateways of [1, 2]) await soak(rotation, gateways)
}

async function soak(rotation: 'instant' | 'on_use', gateways: number): Promise<void> {
  const { driver, close } = await startDriven({ rotation, tokenLifetimeSeconds: Number(values.lifetime) })
  try {
    const redisPort = await freePort()
    start('redis-server', ['--port', String(redisPort), '--bind', '127.0.0.1', '--save', '', '--dir', tmpdir()])
    const { apiKey, entry } = newCaller('soak', ['*'])
    const shared = {
      HEALTHTAP_APP_ID: driver.options.appId,
      HEALTHTAP_APP_SECRET: driver.options.appSecret,
      HEALTHTAP_AUTHORIZE_URL: `${driver.options.url}/oauth/authorize`,
      HEALTHTAP_API_URL: driver.options.url,
      HEALTHTAP_REDIRECT_URIS: driver.options.redirectUri,
      REDIS_URL: `redis://127.0.0.1:${redisPort}`,
      ENCRYPTION_KEYS: newEncryptionKey(),
      CALLERS: JSON.stringify([entry]),
      LOG_LEVEL: 'warn',
    }
    const urls: string[] = []
    for (let index = 0; index < gateways; index += 1) {
      const port = await freePort()
      const journal = mkdtempSync(join(tmpdir(), 'htgw-soak-'))
      start(process.execPath, ['dist/src/main.js', 'serve'], { ...shared, PORT: String(port), JOURNAL_DIR: journal })
      urls.push(`http://127.0.0.1:${port}`)
    }
    for (const url of urls) await ready(url)
    await read(driver, urls, apiKey, `${rotation}, ${gateways} gateway${gateways > 1 ? 's' : ''}`)
  } finally {
    await endAll()
    await close()
  }
}

async function read(driver: SandboxDriver, urls: readonly string[], apiKey: string, title: string): Promise<void> {
  const authorization = `Bearer ${apiKey}`
  const made = await fetch(`${urls[0]}/v1/users`, {
    method: 'POST',
    headers: { authorization, 'content-type': 'application/json' },
    body: JSON.stringify({ username: 'soak' }),
  })
  const { guid } = (await made.json()) as { guid: string }
  let reads = 0
  let askedAgain = 0
  let version = 0
  const wrong: string[] = []

  async function accepted(url: string): Promise<boolean> {
    const response = await fetch(`${url}/v1/grants/${guid}/token`, { headers: { authorization } })
    const token = (await response.json()) as { access_token: string; version: number }
    reads += 1
    if (response.status !== 200) wrong.push(`read ${reads}: ${response.status}`)
    version = Math.max(version, token.version)
    return (await driver.me(token.access_token)).status === 200
  }

  const endsAt = Date.now() + Number(values.seconds) * 1000
  while (Date.now() < endsAt) {
    const url = urls[reads % urls.length] ?? ''
    if (!(await accepted(url))) {
      askedAgain += 1
      if (!(await accepted(url))) wrong.push(`read ${reads}: refused twice`)
    }
    await sleep(Number(values['every-ms']))
  }
  const counts = await driver.counts()
  const refreshes = counts.grants[guid]?.refreshes
  if (refreshes !== version - 1) wrong.push(`${refreshes} refreshes for version ${version}`)
  print(
    `${title}: ${reads} reads, asked again ${askedAgain}, version ${version}, ${refreshes} refreshes at the sandbox`,
  )
  for (const line of wrong.slice(0, 20)) print(`  WRONG ${line}`)
  if (wrong.length > 0) process.exitCode = 1
}
