import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Sandbox } from '../app.ts'
import { parametersOf } from '../http/parameters.ts'
import { consentPage, errorPage, MAX_USERNAME_LENGTH } from '../pages/consent.ts'
import { sendPage } from '../pages/layout.ts'
import { type AuthorizationRequest, approveAuthorization } from '../provider/authorization-request.ts'
import { OAuthError } from '../provider/oauth-error.ts'
import type { Person } from '../provider/people.ts'
import type { Provider } from '../provider/provider.ts'

const PATH = '/oauth/authorize'
const COOKIE = 'healthtap_sandbox_session'

/**
 * The authorization endpoint: the page that asks, and what follows from the answer. The form is plain enough for
 * curl: POST its fields, with `username` and `decision=allow` or `deny`, and read the `Location` of the 302.
 * @see RFC 6749, section 3.1
 */
export function authorizeRoutes(app: FastifyInstance, { provider }: Sandbox): void {
  const { settings } = provider

  app.setErrorHandler((error, _request, reply) => {
    if (!(error instanceof OAuthError)) throw error
    // 200, and no way back to the client, whatever is wrong with the request.
    return sendPage(reply, 200, errorPage(error))
  })

  /** Shows the page again where there is a `complaint` about the `username` that was sent with it. */
  function ask(reply: FastifyReply, request: AuthorizationRequest, person?: Person, complaint: string | null = null) {
    const { appName } = settings
    const consent = { appName, request, username: person?.username ?? '', signedIn: person !== undefined, complaint }
    return sendPage(reply, complaint === null ? 200 : 422, consentPage(consent), formTargets(request.redirectUri))
  }

  app.get(PATH, (request, reply) => {
    const parameter = parametersOf(request)
    const approved = approveAuthorization(parameter, settings)
    const person = signedInPerson(request, provider)
    // Who has consented to the same before is not asked again; `prompt=consent` is the way to be asked, and from
    // there to sign in as somebody else.
    const skipsConsent = person && parameter('prompt') !== 'consent' && provider.hasAuthorized(person, approved.scopes)
    return skipsConsent ? allow(reply, approved, person, provider) : ask(reply, approved, person)
  })

  app.post(PATH, (request, reply) => {
    const parameter = parametersOf(request)
    const approved = approveAuthorization(
      name => parameter(name) ?? (name === 'response_type' ? 'code' : undefined),
      settings,
    )
    const decision = parameter('decision')
    if (decision === 'deny') return deny(reply, approved)
    if (decision !== 'allow') throw new OAuthError('invalid_request', 'The decision must be allow or deny.')
    const username = parameter('username')?.trim()
    const current = signedInPerson(request, provider)
    if (username === undefined || username.length > MAX_USERNAME_LENGTH) {
      return ask(reply, approved, current, `Enter a name of 1 to ${MAX_USERNAME_LENGTH} characters.`)
    }
    const person = provider.people.signIn(username)
    if (person !== current) {
      const session = provider.people.openSession(person)
      reply.header('set-cookie', `${COOKIE}=${session}; Path=${PATH}; HttpOnly; SameSite=Lax`)
    }
    return allow(reply, approved, person, provider)
  })
}

function allow(reply: FastifyReply, request: AuthorizationRequest, person: Person, provider: Provider): FastifyReply {
  return redirect(reply, request, { code: provider.authorize(person, request) })
}

function deny(reply: FastifyReply, request: AuthorizationRequest): FastifyReply {
  const { code, message } = new OAuthError('access_denied')
  return redirect(reply, request, { error: code, error_description: message })
}

/** Back to the client, which gets its `state` again. @see RFC 6749, section 4.1.2 */
function redirect(
  reply: FastifyReply,
  { redirectUri, state }: AuthorizationRequest,
  answer: Record<string, string>,
): FastifyReply {
  const query = new URLSearchParams({ ...answer, ...(state !== undefined && { state }) })
  return reply
    .headers({ 'cache-control': 'no-store', 'referrer-policy': 'no-referrer' })
    .redirect(`${redirectUri}${redirectUri.includes('?') ? '&' : '?'}${query}`, 302)
}

function signedInPerson(request: FastifyRequest, { people }: Provider): Person | undefined {
  const session = new RegExp(`(?:^|; )${COOKIE}=([0-9a-f]{64})`).exec(request.headers.cookie ?? '')?.[1]
  return session === undefined ? undefined : people.bySession(session)
}

/**
 * Browsers hold `form-action` against every redirect that follows the form, and a web client's redirect_uri usually
 * sends the person on to some other origin of its own: web addresses are therefore allowed by scheme.
 */
function formTargets(redirectUri: string): string[] {
  const { protocol } = new URL(redirectUri)
  return protocol === 'https:' || protocol === 'http:' ? ['http:', 'https:'] : [protocol]
}
