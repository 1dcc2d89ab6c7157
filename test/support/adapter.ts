import { Secret } from '../../src/ports/secret.ts'
import { createHealthTap, type HealthTap } from '../../src/provider/healthtap.ts'

export type AskedOperation = 'refresh' | 'exchange' | 'createUser'

/** The real adapter, towards a provider at `url`. */
export function adapterFor(
  url: string,
  { timeoutMs, connections }: { timeoutMs: number; connections: number },
): HealthTap {
  return createHealthTap({
    appId: 'app',
    appSecret: new Secret('secret'),
    appSecretNext: null,
    authorizeUrl: url,
    apiUrl: url,
    identityUrl: null,
    identityPointer: '/guid',
    redirectUri: 'https://app.example/cb',
    timeoutMs,
    connections,
  })
}

export function askFor(provider: HealthTap, operation: AskedOperation) {
  switch (operation) {
    case 'refresh':
      return provider.refresh(new Secret('refresh'))
    case 'exchange':
      return provider.exchange({ code: new Secret('c'), redirectUri: 'https://a.example', codeVerifier: null })
    case 'createUser':
      return provider.createUser({ username: 'u', password: new Secret('p'), attributes: {} })
  }
}
