/** What an answer promises about grants, and what it leaves open. */
import { parsed } from './answers.ts'
import type { Operation } from './operations.ts'
import { encode, type Made } from './outgoing.ts'
import { demand } from './violation.ts'
import type { Answer } from './wire.ts'
import type { World } from './world.ts'

export async function account(world: World, operation: Operation | null, made: Made, answer: Answer): Promise<void> {
  const { ledger } = world
  const isDone = answer.status < 300
  const guidInPath = String(made.params.guid ?? '')
  switch (operation?.name) {
    case 'POST /v1/grants': {
      // 200 says that it was made before; what has become of it since is another question.
      if (answer.status === 201) ledger.keep((parsed(answer) as { guid: string }).guid)
      return
    }
    case 'POST /v1/users': {
      if (!isDone) return
      const { guid } = parsed(answer) as { guid: string }
      if (answer.status === 201) ledger.keep(guid)
      const { username } = JSON.parse((await ask(world, `/v1/grants/${encode(guid)}`)).body)
      const asked = JSON.stringify(made.username)
      demand(username === made.username, () => `${asked} is given the grant of ${JSON.stringify(username)}`)
      return
    }
    case 'PUT /v1/grants/{guid}': {
      const { refresh_token_expires_in: life } = (made.body ?? {}) as { refresh_token_expires_in?: number }
      const isGood = isDone && made.isFreshPair && (life === undefined || life > LONG_SECONDS)
      if (isGood) ledger.keep(guidInPath)
      else if (isDone || answer.status >= 500) ledger.forget(guidInPath)
      return
    }
    case 'POST /v1/tokens': {
      if (!isDone || made.body === undefined) return
      const { guids } = made.body as { guids: readonly string[] }
      const { results } = parsed(answer) as { results: readonly { guid: string; token?: { guid: string } }[] }
      const told = results.map(({ guid, token }) => (token === undefined ? guid : token.guid))
      demand(String(told) === String(guids), () => `asked for ${guids}, and answered of ${told}`)
      return
    }
    case 'DELETE /v1/grants/{guid}': {
      if (isDone || answer.status >= 500) ledger.forget(guidInPath)
      return
    }
    case 'GET /tap-in/callback': {
      const state = made.query.state
      if (answer.status >= 400 || typeof state !== 'string') return
      const { status, guid } = JSON.parse((await ask(world, `/v1/authorizations/${encode(state)}`)).body)
      if (status === 'connected') ledger.keep(guid)
    }
  }
}

/** Longer than any run. */
const LONG_SECONDS = 10 * 86_400

export function readToken(world: World, guid: string): Promise<Answer> {
  return ask(world, `/v1/grants/${encode(guid)}/token`)
}

/** As somebody who may do everything. */
function ask(world: World, target: string): Promise<Answer> {
  const headers = { authorization: `Bearer ${world.callers.keyOf('everything')}` }
  return world.client.ask(world.urlOf('main'), { method: 'GET', target, headers, body: null })
}
