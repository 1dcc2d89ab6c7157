/**
 * Where the time of the hot path goes: `npm run bench:profile`. The gateway under load with Node's own sampler, token in memory;
 * `-- --redis`: token in Redis only. The figures are of the time in which it was at work.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { endAll, print } from '../../scripts/processes.ts'
import { pathsFile, provision } from '../http/people.ts'
import { wrk } from '../http/wrk.ts'
import { stayAround } from '../pinned.ts'
import { inDigits, tableText } from '../report.ts'
import { startWorld } from '../world.ts'
import { type Share, shares } from './samples.ts'

const { values } = parseArgs({
  options: {
    redis: { type: 'boolean', default: false },
    seconds: { type: 'string', default: '10' },
    top: { type: 'string', default: '40' },
  },
})
const WARM_UP_SECONDS = 3
const PEOPLE = 200

stayAround()
const directory = mkdtempSync(join(tmpdir(), 'htgw-profile-'))
try {
  const world = await startWorld()
  const settings: Record<string, string> = values.redis ? { TOKEN_CACHE_SIZE: '0' } : {}
  const gateway = await world.gateway(settings, ['--cpu-prof', '--cpu-prof-dir', directory])
  const guids = await provision(world, gateway.url, PEOPLE)
  const load = { url: gateway.url, paths: pathsFile(directory, 'people', guids), apiKey: world.apiKey, connections: 32 }
  await wrk({ ...load, seconds: WARM_UP_SECONDS })
  const fromMicros = nowMicros()
  const { perSecond } = await wrk({ ...load, seconds: Number(values.seconds) })
  const untilMicros = nowMicros()
  await gateway.stop()
  const file = readdirSync(directory).find(name => name.endsWith('.cpuprofile')) ?? ''
  const all = shares(JSON.parse(readFileSync(join(directory, file), 'utf8')), fromMicros, untilMicros)
  print(`${inDigits(perSecond)} requests/s while sampled\n`)
  const byTotal = [...all].sort((first, second) => second.total - first.total)
  print(tableText(table('By itself', all)))
  print(tableText(table('With all that it calls', byTotal)))
  await world.close()
} finally {
  await endAll()
  rmSync(directory, { recursive: true, force: true })
}

function table(title: string, found: readonly Share[]) {
  const rows = found
    .slice(0, Number(values.top))
    .map(({ name, self, total }) => [name, self.toFixed(1), total.toFixed(1)])
  return { title, columns: ['function', 'self %', 'total %'], rows }
}

function nowMicros(): number {
  return Number(process.hrtime.bigint() / 1_000n)
}
