/** `healthtap-gateway grants …`, as it is typed. */
import { createInterface } from 'node:readline/promises'
import { Writable } from 'node:stream'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { ConfigError, readApiConfig } from '../../config.ts'
import { ContainerError } from '../../handover/container.ts'
import { StoreUnavailable } from '../../ports/store.ts'
import { GUID_PATTERN } from '../../schemas/index.ts'
import type { GatewayApi, Status } from './api.ts'
import { duration } from './durations.ts'
import { AskedWrongly, NotDone, type Terminal } from './terminal.ts'

const STATUSES: readonly Status[] = ['active', 'in_doubt', 'reauthorization_required', 'revoking']
const HOUR_MS = 3_600_000

interface Reaching {
  readonly url?: string
  readonly keyFile?: string
  readonly json: boolean
}

export function addGrantsCommands(grants: Command): void {
  asking(grants.command('list'), 'All grants, one a line.')
    .addOption(statusOption())
    .option('--username <name>', 'of this username alone')
    .option('--limit <count>', 'at most so many', count)
    .action(
      async options => await through(options, async api => (await import('./look.ts')).list(api, options, terminal())),
    )

  asking(grants.command('show'), 'One grant, and what has become of it. Never its tokens.')
    .argument('<guid>', 'the HealthTap user', guid)
    .action(async (who: string, options) => {
      await through(options, async api => (await import('./look.ts')).show(api, who, options, terminal()))
    })

  asking(grants.command('due'), 'What is going to be renewed, soonest first.')
    .option('--within <time>', 'until so long from now: 30m, 1h, 2d', duration, HOUR_MS)
    .addOption(statusOption())
    .option('--limit <count>', 'at most so many', count)
    .action(
      async options => await through(options, async api => (await import('./look.ts')).due(api, options, terminal())),
    )

  asking(grants.command('simulate-outage'), 'What would lapse if HealthTap were away from now on. Nothing changes.')
    .argument('<time>', 'for how long: 30m, 1h, 2d', duration)
    .option('--limit <count>', 'show at most so many', count)
    .action(async (lastsMs: number, options) => {
      await through(options, async api => (await import('./outage.ts')).outage(api, lastsMs, options, terminal()))
    })

  asking(grants.command('refresh'), 'Renews a grant now, ahead of its time. Its current token may die by it.')
    .argument('<guid>', 'the HealthTap user', guid)
    .action(async (who: string, options) => {
      await through(options, async api => (await import('./act.ts')).refresh(api, who, options, terminal()))
    })

  asking(grants.command('revoke'), "Ends a person's authorization, here and at HealthTap.")
    .argument('<guid>', 'the HealthTap user', guid)
    .option('--yes', 'do not ask', false)
    .action(async (who: string, options) => {
      await through(options, async api => (await import('./act.ts')).revoke(api, who, options, terminal()))
    })

  grants
    .command('export')
    .description(
      'Moves all grants out of a Redis into an encrypted file, with the settings of its gateways, which are stopped. Killed half-way: run it again. See docs/grants-cli.md.',
    )
    .argument('[file]', 'where they go; one that was begun is gone on with')
    .option('--passphrase-file <file>', 'what opens it; absent: it is asked for')
    .option('--copy', 'leave them where they are: good only for when this deployment is lost', false)
    .option('--gateways-stopped', 'they are, where Redis does not let that be seen', false)
    .option('--undo', 'put back what was moved out, and was imported nowhere', false)
    .option('--yes', 'with --undo: do not ask', false)
    .action(async (file: string | undefined, options) => {
      await reported(async () => {
        const { exportGrants, undoExport } = await import('./export.ts')
        if (options.undo === (file !== undefined)) throw new AskedWrongly('Say either where to export to, or --undo.')
        return await (file === undefined ? undoExport(options, terminal()) : exportGrants(file, options, terminal()))
      })
    })

  grants
    .command('import')
    .description(
      'Puts the grants of such a file into a Redis, with the settings of its gateways, which may run. Nothing is written over. Killed half-way: run it again.',
    )
    .argument('<file>', 'what grants export has written')
    .option('--passphrase-file <file>', 'what opens it; absent: it is asked for')
    .option('--source-is-gone', 'it is a copy, and nobody renews its grants any more', false)
    .option('--partial', 'it was not finished, and never will be', false)
    .action(async (file: string, options) => {
      await reported(async () => (await import('./import.ts')).importGrants(file, options, terminal()))
    })
}

/** What all have that ask a gateway over HTTP. */
function asking(command: Command, description: string): Command {
  return command
    .description(`${description} Asks a gateway, with an API key from GATEWAY_API_KEY or GATEWAY_API_KEY_FILE.`)
    .option('--url <url>', 'where the gateway is; default: GATEWAY_URL, else http://127.0.0.1:3000')
    .option('--key-file <file>', 'a file that holds the API key')
    .option('--json', 'as JSON, an object a line', false)
}

/** Sets the exit code. */
async function through(reaching: Reaching, work: (api: GatewayApi) => Promise<number>): Promise<void> {
  await reported(async () => {
    const config = readApiConfig(reaching)
    const { createApi } = await import('./api.ts')
    return await work(createApi(config))
  })
}

async function reported(work: () => Promise<number>): Promise<void> {
  process.exitCode = await work().catch((error: unknown) => {
    const isWrong = error instanceof AskedWrongly || error instanceof ConfigError
    const isPlain = [NotDone, ContainerError, StoreUnavailable].some(kind => error instanceof kind)
    const isOfFile = error instanceof Error && 'code' in error && 'path' in error
    if (!isWrong && !isPlain && !isOfFile) throw error
    process.stderr.write(`${(error as Error).message}\n`)
    return isWrong ? 2 : 1
  })
}

function terminal(): Terminal {
  const isManned = process.stdin.isTTY === true && process.stderr.isTTY === true
  return { out: process.stdout, err: process.stderr, now: Date.now, ask: isManned ? ask : null }
}

/** On standard error: what goes into a pipe is the result alone. */
async function ask(question: string, { hidden } = { hidden: false }): Promise<string> {
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() })
  const lines = createInterface({ input: process.stdin, output: hidden ? nowhere : process.stderr, terminal: true })
  // Not before: until now the terminal shows what is typed.
  process.stderr.write(question)
  // Else Ctrl-C would be one more key that is not shown.
  lines.on('SIGINT', () => process.kill(process.pid, 'SIGINT'))
  try {
    return await lines.question('')
  } finally {
    lines.close()
    if (hidden) process.stderr.write('\n')
  }
}

function statusOption(): Option {
  return new Option('--status <status>', 'with this status alone').choices(STATUSES)
}

function count(text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text)
  throw new InvalidArgumentError('It has to be a whole number, at least 1.')
}

function guid(text: string): string {
  if (new RegExp(GUID_PATTERN).test(text)) return text
  throw new InvalidArgumentError('It has to be a guid: 1 to 128 letters, digits and . _ ~ -')
}
