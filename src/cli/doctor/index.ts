/** `doctor`: looks at a deployment's settings, and at everything they point to. It changes nothing, and spends nobody's token. */
import { ConfigError, type Environment, readConfig } from '../../config.ts'
import { misspelledIn } from '../../settings/misspelled.ts'
import { addressChecks } from './addresses.ts'
import { callerChecks } from './callers.ts'
import { type Check, formatCheck, named, ok, warning } from './check.ts'
import { clientChecks } from './client.ts'
import { fileChecks } from './files.ts'
import { issuerChecks } from './issuers.ts'
import { keyChecks } from './keys.ts'
import { portChecks } from './ports.ts'
import { providerChecks } from './provider.ts'
import { redisChecks } from './redis.ts'
import { tlsChecks } from './tls.ts'

export interface DoctorOptions {
  readonly json: boolean
}

/**
 * Prints a line a check. Returns the exit code: 0, or 1 where a check failed; a warning, and what cannot be checked, have
 * not failed.
 */
export async function doctor(
  { json }: DoctorOptions,
  print: (line: string) => void,
  environment: Environment = process.env,
  now: () => number = Date.now,
): Promise<number> {
  const checks = await allChecks(environment, now)
  const isOk = checks.every(({ status }) => status !== 'failed')
  if (json) print(JSON.stringify({ ok: isOk, checks }))
  else for (const check of checks) print(formatCheck(check))
  return isOk ? 0 : 1
}

async function allChecks(environment: Environment, now: () => number): Promise<readonly Check[]> {
  try {
    const config = readConfig(environment)
    const groups = await Promise.all([
      named('settings', misspellings(environment), ok('complete')),
      keyChecks(config),
      callerChecks(config, now()),
      issuerChecks(config),
      tlsChecks(config, now()),
      clientChecks(config),
      portChecks(config),
      fileChecks(config),
      addressChecks(config.redis),
      redisChecks(config, now),
      providerChecks(config, now),
    ])
    return groups.flat()
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    const problems = error.problems.map(text => ({ name: 'settings', status: 'failed', text }) as const)
    const misspelled = misspellings(environment).map(line => ({ name: 'settings', ...line }))
    return [
      ...problems,
      ...misspelled,
      { name: 'everything else', status: 'unknown', text: 'needs settings that are complete' },
    ]
  }
}

function misspellings(environment: Environment) {
  return misspelledIn(environment).map(({ name, meant }) =>
    warning(`${name} is no setting, and says nothing${meant === null ? '' : `: is it ${meant} that is meant?`}`),
  )
}
