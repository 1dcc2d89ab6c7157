import type { FastifyInstance } from 'fastify'
import type { Sandbox } from '../app.ts'
import { json, tokens } from '../http/answer.ts'
import { clientCredentials, parametersOf } from '../http/parameters.ts'
import type { Result } from '../http/perform.ts'
import { demand } from '../provider/oauth-error.ts'

/** HealthTap's own endpoint: makes a user and hands out the first pair of tokens. Of the password a salted hash is kept. */
export function userRoutes(app: FastifyInstance, { provider, perform }: Sandbox): void {
  app.post('/api/v2.1/users.json', (request, reply) => {
    const parameter = parametersOf(request)
    const username = parameter('username')
    return perform(request, reply, {
      operation: 'users',
      guid: username === undefined ? undefined : provider.people.byUsername(username)?.guid,
      async attempt(pause) {
        demand(provider.isClient(clientCredentials(request, parameter)), 'invalid_client')
        const password = parameter('password')
        if (username === undefined || password === undefined) {
          const blank = ['username', 'password'].filter(name => parameter(name) === undefined)
          return invalid('blank', Object.fromEntries(blank.map(name => [name, ["can't be blank"]])))
        }
        await pause()
        const pair = provider.createUser(username, password)
        if (!pair) return invalid('username_taken', { username: ['has already been taken'] })
        return { answer: tokens(201, pair, provider.secondsLeft(pair), pair.guid), outcome: 'ok', guid: pair.guid }
      },
    })
  })
}

const invalid = (outcome: string, errors: Record<string, string[]>): Result => ({
  answer: json(422, { errors }),
  outcome,
})
