#!/usr/bin/env node
/** The command line. Exit codes: 0 done, 1 failed, 2 asked for wrongly. */
import { existsSync, readFileSync } from 'node:fs'
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander'
import { PERMISSIONS } from './callers/caller.ts'
import { addGrantsCommands } from './cli/grants/commands.ts'
import { newAuditKey, newCaller, newEncryptionKey } from './cli/keys.ts'
import { ConfigError } from './config.ts'
import { VERSION } from './version.ts'

const program = new Command('healthtap-gateway')
  .description(
    'Token broker for HealthTap Cloud: holds the app secret and the refresh tokens, hands out access tokens.',
  )
  .version(VERSION)
  .exitOverride()
  .showHelpAfterError('(add --help for what it takes)')

program
  .command('serve')
  .description('The service, on Redis. Settings come from the environment; see the README.')
  .action(async () => {
    const { serve } = await import('./cli/serve.ts')
    await serve()
  })

program
  .command('dev')
  .description('Gateway, embedded store and HealthTap sandbox in one process, with commands to try it. Loopback only.')
  .option('--port <port>', "the gateway's port", fixedPort, 3000)
  .option('--sandbox-port <port>', "the sandbox's port", fixedPort, 3001)
  .addOption(rotationOption())
  .option('--token-lifetime <seconds>', 'how long access tokens live', seconds, 7200)
  .option(
    '--password-grant',
    'the sandbox offers the password grant; HEALTHTAP_PASSWORD_GRANT is then true unless the environment sets it',
    false,
  )
  .action(async options => {
    const { dev } = await import('./cli/dev.ts')
    await dev(options)
  })

program
  .command('sandbox')
  .description('The HealthTap stand-in alone. It believes any name: never a place for real people.')
  .option(
    '--host <address>',
    'where it listens; another than this one only in a network that nobody else is in',
    '127.0.0.1',
  )
  .option('--port <port>', 'where it listens', portNumber, 3001)
  .option('--tls-port <port>', 'where it listens for TLS besides; needs a certificate and its key', portNumber)
  .option('--tls-cert <file>', 'PEM')
  .option('--tls-key <file>', 'PEM')
  .option('--data <file>', 'keeps people and their tokens there, so that a restart does not lose them')
  .requiredOption('--app-id <id>', "the app's APP_ID, or @FILE that holds it", textOrFile)
  .requiredOption('--app-secret <secret>', "the app's APP_SECRET, or @FILE that holds it", textOrFile)
  .requiredOption('--redirect-uri <uri...>', 'allowed redirect URIs')
  .addOption(rotationOption())
  .option('--legacy', 'statuses of old servers: 401 to every token error', false)
  .option('--token-lifetime <seconds>', 'how long access tokens live', seconds, 7200)
  .option('--no-guid', "leave the guid out of the exchange's answer")
  .option('--no-pkce', 'ignore PKCE challenges, as servers without it do')
  .option('--password-grant', 'offer the password grant to users that the app has made', false)
  .option('--reuse-tokens', 'hand out the same pair again to a person who signs in again', false)
  .action(async options => {
    const { sandbox } = await import('./cli/sandbox.ts')
    await sandbox(options)
  })

program
  .command('healthcheck')
  .description(
    'Asks the gateway that runs with the same settings how it is, for containers. Exit 1 where it is not well.',
  )
  .option('--ready', 'whether requests may be sent to it, instead of whether it lives', false)
  .action(async ({ ready }: { ready: boolean }) => {
    const { healthcheck } = await import('./cli/healthcheck.ts')
    process.exitCode = await healthcheck(ready ? 'ready' : 'live', print)
  })

program
  .command('doctor')
  .description('Checks the settings, Redis and the provider of a deployment. A line a check; exit 1 where one fails.')
  .option('--json', 'the checks as JSON', false)
  .action(async (options: { json: boolean }) => {
    const { doctor } = await import('./cli/doctor/index.ts')
    process.exitCode = await doctor(options, print)
  })

program
  .command('keygen')
  .description('Prints a new entry for ENCRYPTION_KEYS. Put it first to seal with it; keep the others to open.')
  .option('--audit', 'a new AUDIT_KEY instead', false)
  .action(({ audit }: { audit: boolean }) => print(audit ? newAuditKey() : newEncryptionKey()))

program
  .command('audit')
  .description('The audit stream.')
  .command('verify')
  .description(
    'Finds audit lines that were changed, removed or moved. Exit 1 where there are any. Needs AUDIT_KEY, or ENCRYPTION_KEYS; with REDIS_URL it also finds ends that were cut off.',
  )
  .argument('[file...]', 'older ones first; - is standard input; default: the file that AUDIT_LOG names')
  .option('--partial', 'older files are gone: that the beginning is missing is no fault', false)
  .option('--json', 'the findings as JSON', false)
  .action(async (files: readonly string[], options: { partial: boolean; json: boolean }) => {
    const { verifyAudit } = await import('./cli/audit.ts')
    process.exitCode = await verifyAudit(files, options, print).catch(askedForWrongly)
  })

program
  .command('rotate-keys')
  .description(
    'Seals everything anew with the first of ENCRYPTION_KEYS, while gateways go on. Exit 1: not all is; may be run again. See docs/key-rotation.md.',
  )
  .action(async () => {
    const { rotateKeys } = await import('./cli/rotate-keys.ts')
    process.exitCode = await rotateKeys(process.stdout)
  })

addGrantsCommands(program.command('grants').description('Looks at grants, acts on them, moves them elsewhere.'))

program
  .command('caller')
  .description('Prints a fresh API key, once, and the CALLERS entry with its hash.')
  .argument('<name>', 'what the caller is called in logs', callerName)
  .addOption(
    new Option('--permission <permission...>', 'what it may do').choices([...PERMISSIONS, '*']).makeOptionMandatory(),
  )
  .action((name: string, { permission }: { permission: readonly string[] }) => {
    const { apiKey, entry } = newCaller(name, permission)
    print(`API key (shown only now):  ${apiKey}`)
    print(`Entry for CALLERS:         ${JSON.stringify(entry)}`)
  })

function rotationOption(): Option {
  return new Option('--rotation <mode>', 'what a refresh does to the pair before it')
    .choices(['instant', 'on_use'])
    .default('instant')
}

function textOrFile(text: string): string {
  if (!text.startsWith('@')) return text
  try {
    return readFileSync(text.slice(1), 'utf8').trim()
  } catch (error) {
    throw new InvalidArgumentError(`The file cannot be read (${(error as NodeJS.ErrnoException).code}).`)
  }
}

function portNumber(text: string): number {
  return wholeNumber(text, 0, 65_535)
}

/** One that others have to know before it is bound. */
function fixedPort(text: string): number {
  return wholeNumber(text, 1, 65_535)
}

function seconds(text: string): number {
  return wholeNumber(text, 1, 31_536_000)
}

function wholeNumber(text: string, minimum: number, maximum: number): number {
  const number = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN
  if (number >= minimum && number <= maximum) return number
  throw new InvalidArgumentError(`It has to be a whole number from ${minimum} to ${maximum}.`)
}

function callerName(text: string): string {
  if (/^[\w.-]{1,64}$/.test(text)) return text
  throw new InvalidArgumentError('It has to be 1 to 64 letters, digits and . _ -')
}

/** A setting or a file that is not there says nothing about the files that are. */
function askedForWrongly(error: unknown): number {
  process.stderr.write(`${error instanceof ConfigError ? error.message : explain(error)}\n`)
  return 2
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}

/** In development alone; what the environment says already counts. */
function readEnvFile(): void {
  if (process.env.NODE_ENV !== 'production' && existsSync('.env')) process.loadEnvFile('.env')
}

try {
  readEnvFile()
  if (process.argv.length <= 2) program.help({ error: true })
  await program.parseAsync()
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2
  else {
    process.stderr.write(`${error instanceof ConfigError ? error.message : explain(error)}\n`)
    process.exit(1)
  }
}

/** A port that is taken is the most common one; its message is plain enough. */
function explain(error: unknown): string {
  const { code, message, port } = error as NodeJS.ErrnoException & { port?: number }
  if (code === 'EADDRINUSE') return `Port ${port} is taken: stop what listens there, or choose another one.`
  return `It did not work: ${message}`
}
