import type { ServeConfig } from '../../config.ts'
import { type Check, counted, failed, named, ok, warning } from './check.ts'

/** Those of HealthTap's own page, and the one that users who were made have. */
const DOCUMENTED_SCOPES = [
  'profile_read',
  'profile_write',
  'pay',
  'send_communications',
  'create_content',
  'member_public',
]
const HOSTED_CALLBACK = '/tap-in/callback'

/** What was said of the app's registration, as far as it can be looked at without asking: HealthTap shows people an error page for the rest. */
export function clientChecks(config: ServeConfig): readonly Check[] {
  return [
    ...named('redirect URIs', redirectLines(config), ok(counted(config.redirectUris.length, 'redirect URI'))),
    ...named('scopes', scopeLines(config.scopes), ok(config.scopes.join(' '))),
  ]
}

function redirectLines({ apiUrl, redirectUris, returnToOrigins }: ServeConfig) {
  const urls = redirectUris.map(uri => new URL(uri))
  const isReal = !isOnThisMachine(new URL(apiUrl))
  const hasHosted = urls.some(({ pathname }) => pathname.endsWith(HOSTED_CALLBACK))
  return [
    ...redirectUris.flatMap((uri, index) => lineOf(uri, urls[index] ?? new URL(uri), isReal)),
    ...redirectUris
      .filter((uri, index) => redirectUris.indexOf(uri) < index)
      .map(uri => warning(`${uri} is there twice`)),
    ...redirectUris
      .filter(uri => redirectUris.includes(`${uri}/`))
      .map(uri => warning(`${uri} is there with and without a slash at its end: HealthTap compares exactly`)),
    ...(returnToOrigins.length > 0 && !hasHosted
      ? [warning(`RETURN_TO_ORIGINS has no effect: no redirect URI ends in ${HOSTED_CALLBACK}`)]
      : []),
  ]
}

function lineOf(uri: string, url: URL, isReal: boolean) {
  if (uri.includes('*')) return [failed(`${uri} has a *, and is compared exactly: name each address`)]
  if (url.username !== '' || url.password !== '') {
    return [failed(`an address at ${url.host} has a user or password in it: browsers keep those in their history`)]
  }
  if (['code', 'state', 'error'].some(name => url.searchParams.has(name))) {
    return [failed(`${uri} has a code, state or error of its own: take it out, HealthTap adds them`)]
  }
  const isClear = url.protocol === 'http:' && !isOnThisMachine(url)
  if (isClear) return [failed(`${uri} is not https: codes would travel readable for everybody`)]
  const isLocal = /^https?:$/.test(url.protocol) && isOnThisMachine(url)
  return isLocal && isReal ? [warning(`${uri} is on each person's own machine: good for development alone`)] : []
}

function scopeLines(scopes: readonly string[]) {
  const unknownScopes = scopes.filter(name => !DOCUMENTED_SCOPES.includes(name) && !/[,;+]/.test(name))
  return [
    ...scopes
      .filter(name => /[,;+]/.test(name))
      .map(name => failed(`${name} is taken for one scope: HEALTHTAP_SCOPES is separated by spaces`)),
    ...(unknownScopes.length > 0
      ? [
          warning(
            `HealthTap does not document ${unknownScopes.join(' ')}: a person who is asked for what the app is not registered for sees an error page`,
          ),
        ]
      : []),
    ...scopes.filter((name, index) => scopes.indexOf(name) < index).map(name => warning(`${name} is there twice`)),
  ]
}

function isOnThisMachine({ hostname }: URL): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname)
}
