/** What the breaker and `doctor` learn about our credentials, from a provider that looks at a token before it looks at them. */
import t from 'tap'
import { startDriven } from '../../sandbox/driver.ts'
import { Secret } from '../../src/ports/secret.ts'
import { createHealthTap } from '../../src/provider/healthtap.ts'

for (const legacy of [false, true]) {
  t.test(`a probe tells wrong credentials from good ones${legacy ? ', also of an old server' : ''}`, async t => {
    const { driver: sandbox, close } = await startDriven({ legacy })
    t.teardown(close)
    const { appId, appSecret, url, redirectUri } = sandbox.options
    async function probe(secret: string, apiUrl = url) {
      const healthTap = createHealthTap({
        appId,
        appSecret: new Secret(secret),
        appSecretNext: null,
        authorizeUrl: `${url}/oauth/authorize`,
        apiUrl,
        identityUrl: null,
        identityPointer: '/guid',
        redirectUri,
        timeoutMs: 2_000,
        connections: 1,
      })
      const outcome = await healthTap.probe()
      await healthTap.close()
      return outcome
    }
    t.match(await probe(appSecret), { kind: 'ok' })
    t.match(await probe('wrong'), { kind: 'client_refused' })
    t.match(await probe(appSecret, `${url}/elsewhere`), { kind: 'refused' })
    t.match(await probe(appSecret, 'http://127.0.0.1:1'), { kind: 'unavailable' })
  })
}
