/** What is made to be guessed by nobody: 256 bits each, and none of them twice. */
import t from 'tap'
import { newAuditKey, newCaller, newEncryptionKey } from '../../src/cli/keys.ts'
import type { Provider } from '../../src/ports/provider.ts'
import { createWorld } from '../support/broker.ts'

const TIMES = 500

/** Whether these are base64url of 32 bytes each, all different, and every bit of them moves. */
function areRandom(values: readonly string[]): boolean {
  const all = values.map(value => Buffer.from(value, 'base64url'))
  const movesEverywhere = Array.from({ length: 256 }, (_, bit) => {
    const set = all.filter(bytes => ((bytes[bit >> 3] ?? 0) >> (bit & 7)) & 1).length
    return set > 0 && set < all.length
  })
  const isBase64url = values.every(value => /^[A-Za-z0-9_-]{43}$/.test(value))
  return isBase64url && movesEverywhere.every(Boolean) && new Set(values).size === values.length
}

t.test('states, PKCE verifiers and passwords', async t => {
  const { replica, provider } = createWorld()
  const made = { states: [] as string[], verifiers: [] as string[], passwords: [] as string[] }
  const createUser = provider.createUser.bind(provider)
  provider.createUser = (user: Parameters<Provider['createUser']>[0]) => {
    made.passwords.push(user.password.reveal())
    return createUser(user)
  }
  const broker = replica()
  for (let times = 0; times < TIMES; times += 1) {
    const { authorization } = await broker.authorizations.begin({})
    made.states.push(authorization.state)
    made.verifiers.push(authorization.codeVerifier?.reveal() ?? '')
    await broker.provisionings.provision({ username: `user-${times}`, attributes: {} })
  }
  for (const [what, values] of Object.entries(made)) {
    t.equal(values.length, TIMES)
    t.ok(areRandom(values), what)
  }
})

t.test('keys', async t => {
  const made = Array.from({ length: TIMES }, () => ({
    'API keys': newCaller('a', ['*']).apiKey.replace(/^htgw_/, ''),
    'encryption keys': Buffer.from(newEncryptionKey().split(':')[1] ?? '', 'base64').toString('base64url'),
    'audit keys': Buffer.from(newAuditKey(), 'base64').toString('base64url'),
  }))
  for (const what of ['API keys', 'encryption keys', 'audit keys'] as const) {
    t.ok(areRandom(made.map(all => all[what])), what)
  }
})
