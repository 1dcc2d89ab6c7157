/**
 * Real gateways, a real Redis, the sandbox, readers throughout, and faults one after the other: `npm run chaos -- --minutes 10`.
 * Ends with the figures, and exits 1 where a token was served that was expired or replaced, or a grant was lost for which no
 * answer was lost. `--password-grant`: provisioned people come back by their password, so none may be lost. `--scenario quiet`: no faults, every refresh at the provider has to be a rotation. `--scenario credentials`:
 * the provider refuses our secret for most of the time.
 */
import { parseArgs } from 'node:util'
import { Chaos } from './chaos/chaos.ts'
import { strike, WAYS } from './chaos/faults.ts'
import { print } from './processes.ts'

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    rotation: { type: 'string', default: 'both' },
    redis: { type: 'string', default: 'single' },
    scenario: { type: 'string', default: 'faults' },
    grants: { type: 'string' },
    lifetime: { type: 'string', default: '10' },
    'password-grant': { type: 'boolean', default: false },
  },
})
const isQuiet = values.scenario === 'quiet'
const rotations =
  values.rotation === 'both' && !isQuiet ? (['instant', 'on_use'] as const) : ([values.rotation] as const)

for (const rotation of rotations) {
  const chaos = await Chaos.start({
    rotation: rotation === 'on_use' ? 'on_use' : 'instant',
    redis: values.redis === 'sentinel' || values.redis === 'cluster' ? values.redis : 'single',
    gateways: isQuiet ? 2 : 3,
    grants: Number(values.grants ?? (isQuiet ? 1_000 : 60)),
    lifetimeSeconds: Number(values.lifetime),
    passwordGrant: values['password-grant'],
  })
  try {
    const endsAt = Date.now() + (Number(values.minutes) * 60_000) / rotations.length
    chaos.beginReading()
    if (values.scenario === 'credentials') await chaos.refuseCredentialsUntil(endsAt)
    while (Date.now() < endsAt) {
      if (values.scenario === 'faults') for (const way of WAYS) if (Date.now() < endsAt) await strike(chaos, way)
      await chaos.quiet(1_000)
    }
    await chaos.recover()
    const { figures, wrong } = await chaos.conclude(isQuiet)
    const withPasswords = values['password-grant'] ? ', password grant' : ''
    print(`${values.scenario}, ${rotation}, ${values.redis}${withPasswords}: ${JSON.stringify(figures, null, 2)}`)
    for (const line of wrong) print(`WRONG ${line}`)
    if (wrong.length > 0) process.exitCode = 1
  } finally {
    await chaos.stop()
  }
}
process.exit()
