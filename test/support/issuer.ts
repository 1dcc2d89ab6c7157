/** An issuer of tokens: a key pair, its JWKS on a real socket, and tokens good and bad. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose'
import type { Test } from 'tap'

export const ISSUER = 'https://issuer.example'
export const AUDIENCE = 'healthtap-gateway'

export interface Claims {
  readonly [claim: string]: unknown
}

export interface TestIssuer {
  readonly jwksUrl: string
  readonly jwks: { keys: JWK[] }
  /** How often the keys were asked for. */
  readonly fetches: () => number
  /** What the next requests for keys are answered; 200: the keys. */
  answerWith(status: number): void
  /** Another key pair signs from here on; the keys before it are not shown any more. */
  rotate(): Promise<void>
  /** Valid for a minute from `nowMs` on, unless `claims` say otherwise; undefined leaves a claim out. */
  token(claims?: Claims, header?: { alg?: string; kid?: string }): Promise<string>
}

export async function startIssuer(t: Test, nowMs: number, algorithm = 'ES256'): Promise<TestIssuer> {
  const jwks: { keys: JWK[] } = { keys: [] }
  let [fetches, status, made] = [0, 200, 0]
  let signing = await makeKey()

  async function makeKey() {
    made += 1
    const kid = `key-${made}`
    const { privateKey, publicKey } = await generateKeyPair(algorithm)
    jwks.keys = [{ ...(await exportJWK(publicKey)), kid, alg: algorithm }]
    return { kid, privateKey }
  }

  const server = createServer((_request, response) => {
    fetches += 1
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(jwks))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => void server.close())

  return {
    jwksUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}/jwks`,
    jwks,
    fetches: () => fetches,
    answerWith(next) {
      status = next
    },
    async rotate() {
      signing = await makeKey()
    },
    async token(claims = {}, header = {}) {
      const seconds = Math.floor(nowMs / 1000)
      const all = { iss: ISSUER, aud: AUDIENCE, sub: 'scheduler', iat: seconds, exp: seconds + 60, ...claims }
      return await new SignJWT(all)
        .setProtectedHeader({ alg: algorithm, kid: signing.kid, ...header })
        .sign(signing.privateKey)
    },
  }
}

/** Signed by nobody, as `alg: none` and its spellings would have it. */
export function unsigned(claims: Claims, alg: string): string {
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
  return `${part({ alg, typ: 'JWT' })}.${part(claims)}.`
}
