/** One sequence of steps, from empty pools, with all that has to be true after each of them and at the end. */

import { account, readToken } from './account.ts'
import { checkAnswer, parsed } from './answers.ts'
import { checkServed } from './ledger.ts'
import { bytesOf, type OddBytes } from './odd-bytes.ts'
import type { Operation } from './operations.ts'
import { encode, make, type Surroundings } from './outgoing.ts'
import { Pools } from './pools.ts'
import type { Planned, Step } from './steps.ts'
import { checkVerdict } from './verdict.ts'
import { demand, Violation } from './violation.ts'
import { sendBytes } from './wire.ts'
import type { World } from './world.ts'

/** What was asked and answered, for the report. */
export interface Tally {
  add(what: string, status: number): void
}

/** `isFaulty`: the provider may fail, in this sequence or shortly before it. */
export async function runSequence(
  world: World,
  steps: readonly Step[],
  { name, isFaulty, tally }: { name: string; isFaulty: boolean; tally: Tally },
): Promise<void> {
  // What has ended the gateway was told; nothing can be made smaller without it.
  if (!world.isAlive()) return
  const { ledger, sandbox } = world
  const fixed = {
    scope: ['profile_read', 'profile_write', 'profile_read profile_write'],
    redirect_uri: world.redirectUris,
    return_to: [world.returnTo, `${world.returnTo}?a=b#c`],
  }
  const pools = new Pools(sandbox, name, fixed)
  const trace: string[] = []
  const run: Run = { world, pools, isFaulty, tally, trace }
  ledger.mark()
  try {
    for (const step of steps) await perform(run, step)
    if (isFaulty) await sandbox.clearFaults()
    await checkServed(ledger.fresh(), guid => readToken(world, guid), sandbox)
  } catch (error) {
    // What is lost is told once.
    for (const guid of ledger.fresh()) ledger.forget(guid)
    if (isFaulty) await sandbox.clearFaults()
    if (!(error instanceof Violation)) await world.ended()
    const what = world.isAlive() ? '' : 'the gateway has ended: '
    throw new Violation([`${what}${(error as Error).message}`, 'The last requests:', ...trace.slice(-12)].join('\n'), {
      cause: error,
    })
  }
}

interface Run extends Surroundings {
  readonly tally: Tally
  readonly trace: string[]
}

async function perform(run: Run, step: Step): Promise<void> {
  const { world, pools } = run
  const { ledger, sandbox } = world
  switch (step.kind) {
    case 'request':
      return await request(run, step)
    case 'bytes':
      return await bytes(run, step)
    case 'end': {
      const guid = String(pools.pick('guid', step.pick) ?? '')
      ledger.forget(guid)
      await sandbox.sendJson(`/sandbox/revoke-user/${encode(guid)}`, {})
      return
    }
    case 'fault': {
      if (step.fault.operation !== 'refresh') {
        await sandbox.addFault(step.fault)
        return
      }
      // A renewal that fails may cost the grant: it is to be this one, and no other that the gateway renews by itself.
      const guid = String(pools.pick('guid', step.pick) ?? '')
      if (!/^[0-9a-f]{32}$/.test(guid)) return
      ledger.forget(guid)
      await sandbox.addFault({ ...step.fault, guid })
    }
  }
}

async function bytes({ world, isFaulty, tally, trace }: Run, step: OddBytes): Promise<void> {
  const sent = bytesOf(step, world.callers.keyOf('everything'))
  trace.push(
    `bytes ${JSON.stringify(
      sent
        .toString('latin1')
        .slice(0, 300)
        .replace(/Bearer htgw\S+/g, 'Bearer …'),
    )}`,
  )
  const mayWait = step.headers.some(header => /^(content-length|transfer-encoding|expect)/i.test(header))
  const { answers, wasCutOff } = await sendBytes(world.urlOf('main'), sent, mayWait)
  trace.push(`  ${answers.map(({ status }) => status).join(', ')}`)
  // A gateway is no proxy: such a connection is just closed.
  if (step.method !== 'CONNECT' && !wasCutOff) demand(answers.length > 0, () => 'there is no answer')
  for (const [index, answer] of answers.entries()) {
    tally.add('(bytes)', answer.status)
    const isHead = step.method === 'HEAD' && index === 0
    const operation = index === 0 ? operationAt(world.operations, step) : null
    const echo = `${step.target} ${step.headers.join()}`
    checkAnswer(answer, { operation, isHead, isOdd: true, echo, providerFails: isFaulty }, world.known)
  }
}

/** The one that these bytes may well get to; null: none of the document. */
function operationAt(operations: readonly Operation[], { method, target }: OddBytes): Operation | null {
  const path = target.split('?')[0] ?? ''
  const isAt = (template: string) => new RegExp(`^${template.replaceAll(/\{\w+\}/g, '[^/]+')}$`).test(path)
  return operations.find(one => one.method === method && isAt(one.path)) ?? null
}

const LONGEST_HEAD = 8_000

async function request(run: Run, planned: Planned): Promise<void> {
  const { world, pools, trace, tally, isFaulty } = run
  const { operations } = world
  const documented = operations.find(({ name }) => name === planned.operation)
  if (documented === undefined) throw new Error(`${planned.operation} is not in the document any more`)
  const method = planned.method ?? documented.method
  const isHead = method === 'HEAD'
  const operation =
    operations.find(one => one.path === documented.path && one.method === (isHead ? 'GET' : method)) ?? null
  const made = await make(run, documented, { ...planned, method })
  // What cannot be read is refused with a body, which a client does not expect after HEAD.
  if (isHead && made.outgoing.target.length > LONGEST_HEAD) return
  const line = `${method} ${made.outgoing.target.slice(0, 200)} ${made.outgoing.body?.toString().slice(0, 300) ?? ''}`
  trace.push(`${line}  (${planned.shown.caller}, ${planned.shown.form}, ${planned.door})`)
  const answer = await world.client.ask(world.urlOf(planned.door), made.outgoing)
  trace.push(
    `  ${answer.status} ${answer.body.replaceAll(/"access_token":"[^"]+"/g, '"access_token":"…"').slice(0, 300)}`,
  )
  tally.add(operation?.name ?? '(no such route)', answer.status)

  const isElsewhere = planned.door !== 'main' && answer.status === 404
  const isFound = operation !== null && made.isRouted && !isElsewhere && !(isHead && answer.status === 404)
  const echo = `${made.outgoing.target.split('?')[0]} ${made.outgoing.headers['x-request-id']}`
  const expected = { operation: isFound ? operation : null, isHead, isOdd: made.isOdd, echo, providerFails: isFaulty }
  const code = checkAnswer(answer, expected, world.known)
  if (operation === null || isElsewhere) {
    demand(
      answer.status >= 400 && answer.status < 500,
      () => `${method} ${documented.path} is answered ${answer.status}`,
    )
  }
  if (expected.operation !== null && planned.door === 'main' && !isHead)
    checkVerdict(world, planned, made, answer, code)
  if (answer.status < 300 && answer.body.startsWith('{')) pools.learn(parsed(answer))
  if (made.username !== undefined && answer.status < 300) pools.learn({ username: made.username })
  await account(world, operation, made, answer)
}
