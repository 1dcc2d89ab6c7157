/** A process that asks a provider through the real adapter when its parent tells it to, and tells it the outcome. */
import { Secret } from '../../src/ports/secret.ts'
import { createHealthTap } from '../../src/provider/healthtap.ts'

export interface Question {
  readonly operation: 'refresh' | 'exchange' | 'createUser'
  readonly url: string
  readonly timeoutMs: number
}

/** `blockMs`: keeps the event loop from running for so long. */
export type Command = Question | { readonly blockMs: number }

process.on('message', async (command: Command) => {
  if ('blockMs' in command) {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, command.blockMs)
    return
  }
  process.send?.(await ask(command))
})
process.send?.('ready')

async function ask({ operation, url, timeoutMs }: Question) {
  const provider = createHealthTap({
    appId: 'app',
    appSecret: new Secret('secret'),
    appSecretNext: null,
    authorizeUrl: url,
    apiUrl: url,
    identityUrl: null,
    identityPointer: '/guid',
    redirectUri: 'https://app.example/cb',
    timeoutMs,
    connections: 8,
  })
  const operations = {
    refresh: () => provider.refresh(new Secret('refresh')),
    exchange: () => provider.exchange({ code: new Secret('c'), redirectUri: 'https://a.example', codeVerifier: null }),
    createUser: () => provider.createUser({ username: 'u', password: new Secret('p'), attributes: {} }),
  }
  const outcome = await operations[operation]()
  void provider.close()
  return { operation, kind: outcome.kind, reason: 'reason' in outcome ? outcome.reason : undefined }
}
