import type { AuthorizationRequest } from '../provider/authorization-request.ts'
import type { OAuthError } from '../provider/oauth-error.ts'
import { type Html, html } from './html.ts'
import { layout } from './layout.ts'

/** The longest name that the page takes: enough for any id a test makes up. */
export const MAX_USERNAME_LENGTH = 100

export interface Consent {
  readonly appName: string
  readonly request: AuthorizationRequest
  /** What the name field starts with. */
  readonly username: string
  /** Whether `username` is signed in on this browser. */
  readonly signedIn: boolean
  /** What was wrong with the name that was sent; null on the first showing. */
  readonly complaint: string | null
}

/** The documented scopes in a person's words; any other one speaks for itself. */
const SCOPE_WORDS = new Map([
  ['profile_read', 'Read your profile'],
  ['profile_write', 'Change your profile'],
  ['pay', 'Pay for consultations in your name'],
  ['send_communications', 'Send you messages'],
  ['create_content', 'Write and publish in your name'],
])

export function consentPage({ appName, request, username, signedIn, complaint }: Consent): Html {
  const hint = signedIn
    ? `You are signed in as ${username}. Enter another name to sign in as somebody else.`
    : 'Any name will do; the same name is always the same person.'
  const alert = complaint === null ? [] : [html`<p class="alert" id="complaint" role="alert">${complaint}</p>`]
  const main = html`<main class="consent">
${avatar(appName)}
<h1>${appName} wants to use your HealthTap account</h1>
<p>If you allow it, ${appName} can:</p>
<ul>
${request.scopes.map(scope => html`<li>${CHECK_MARK}${SCOPE_WORDS.get(scope) ?? scope}</li>\n`)}</ul>
<form method="post" action="/oauth/authorize">
${hiddenFields(request)}
<label for="username">Sign in as</label>
<input id="username" name="username" value="${username}" maxlength="${String(MAX_USERNAME_LENGTH)}" required autofocus
 autocomplete="username" autocapitalize="none" spellcheck="false" aria-describedby="hint${complaint === null ? '' : ' complaint'}">
<p class="hint" id="hint">${hint}</p>
${alert}
<div class="buttons">
<button class="allow" name="decision" value="allow">Allow</button>
<button name="decision" value="deny" formnovalidate>Deny</button>
</div>
</form>
<p class="destination">Either way you go back to ${destination(request.redirectUri)}</p>
</main>`
  return layout(`Allow ${appName}? – HealthTap sandbox`, main)
}

/** What a person sees where redirecting would be wrong. @see RFC 6749, section 4.1.2.1 */
export function errorPage({ code, message }: OAuthError): Html {
  const main = html`<main>
<h1>An error has occurred</h1>
<p role="alert">${message}</p>
<p class="hint"><code>${code}</code></p>
</main>`
  return layout('An error has occurred – HealthTap sandbox', main)
}

function hiddenFields({ clientId, redirectUri, scopes, state, codeChallenge }: AuthorizationRequest): Html[] {
  const fields = {
    client_id: clientId,
    response_type: 'code',
    redirect_uri: redirectUri,
    scope: scopes.join(' '),
    ...(state !== undefined && { state }),
    ...(codeChallenge !== undefined && { code_challenge: codeChallenge, code_challenge_method: 'S256' }),
  }
  return Object.entries(fields).map(([name, value]) => html`<input type="hidden" name="${name}" value="${value}">`)
}

/** The app's photo, as far as a sandbox has one: its initials. */
function avatar(appName: string): Html {
  const initials = appName
    .split(/\s+/)
    .slice(0, 2)
    .map(word => [...word][0] ?? '')
    .join('')
    .toUpperCase()
  return html`<svg class="avatar" width="72" height="72" viewBox="0 0 72 72" aria-hidden="true">
<rect width="72" height="72" fill="#0b6bb8"/>
<text x="36" y="46" text-anchor="middle" font-size="28" font-weight="600" fill="#fff">${initials}</text>
</svg>`
}

const CHECK_MARK = html`<svg width="18" height="18" viewBox="0 0 18 18" aria-hidden="true">
<path d="M3 9.5l4 4 8-9" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round"/></svg>`

/** Host or scheme: enough to recognise it, short enough to read. */
const destination = (redirectUri: string): string => {
  const { protocol, host } = new URL(redirectUri)
  return protocol === 'https:' || protocol === 'http:' ? host : `${protocol}//`
}
