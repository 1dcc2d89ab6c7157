import type { Settings } from '../settings.ts'
import { FAULT_KINDS, OPERATIONS } from './faults.ts'

/** What `GET /sandbox` says: what this is, and commands to paste. */
export function guide({ appId, redirectUris: [redirectUri = ''], scopes: [scope = ''] }: Settings): string {
  const query = new URLSearchParams({ client_id: appId, response_type: 'code', redirect_uri: redirectUri, scope })
  return `HealthTap sandbox: a stand-in for HealthTap Cloud's authorization server.
It knows one app, believes any name, and keeps everything in memory.

Set SANDBOX to this server's address and APP_SECRET to the app's secret, then:

Authorize in a browser (add &prompt=consent to be asked again, or to be somebody else)
  $SANDBOX/oauth/authorize?${query}

Authorize without one: the code is in the Location header
  curl -si "$SANDBOX/oauth/authorize" -d client_id=${appId} \\
    --data-urlencode "redirect_uri=${redirectUri}" -d scope=${scope} -d username=ada -d decision=allow

Exchange the code
  curl -s "$SANDBOX/oauth/token" -u "${appId}:$APP_SECRET" --json \\
    '{"grant_type":"authorization_code","code":"CODE","redirect_uri":"${redirectUri}"}'

Refresh, revoke, make a user
  curl -s "$SANDBOX/oauth/token" -u "${appId}:$APP_SECRET" --json '{"grant_type":"refresh_token","refresh_token":"…"}'
  curl -s "$SANDBOX/oauth/revoke" -u "${appId}:$APP_SECRET" --json '{"token":"…"}'
  curl -s "$SANDBOX/api/v2.1/users.json" -u "${appId}:$APP_SECRET" --json '{"username":"42","password":"…"}'

Sign in that user by the password, where password_grant is true; the pairs before stay alive
  curl -s "$SANDBOX/sandbox/settings" -X PUT --json '{"password_grant":true}'
  curl -s "$SANDBOX/oauth/token" -u "${appId}:$APP_SECRET" --json '{"grant_type":"password","username":"42","password":"…"}'

Use an access token (pay.json wants the scope pay)
  curl -si "$SANDBOX/api/v2.1/me.json" -H "Authorization: Bearer …"

Make the next two refreshes fail after they were done
  curl -s "$SANDBOX/sandbox/faults" --json '{"operation":"refresh","kind":"status_after","status":503,"times":2}'

Controls
  GET POST PUT DELETE  /sandbox/faults             list, add one, replace all (an array), remove all
  GET DELETE           /sandbox/counts             what was asked and what became of it; start again from zero
  GET PUT              /sandbox/settings           rotation, legacy, token_lifetime_seconds, guid_in_exchange,
                                                   password_grant, reuse_tokens, app_secret
  GET                  /sandbox/grants/GUID        how many live pairs of tokens a person has
  POST                 /sandbox/revoke-user/GUID   the person disconnects the app: all their pairs die

Settings
  password_grant   true: grant_type=password works for users from users.json; false: unsupported_grant_type
  reuse_tokens     true: a sign-in hands out the person's pair again, if its scopes are the same and its access token lives;
                   expires_in is what is left

Faults
  operation    ${OPERATIONS.join(', ')} or any
  kind         ${FAULT_KINDS.join(', ')}
               omit_refresh_token: done, and the answer has no refresh_token; after a refresh the old one stays good
               close_idle: done and answered; the connection is then dead, and the client is not told: it sees no
               connection: close, and what it sends next on this connection is neither read nor answered
  times        how many requests it hits; absent: until deleted
  guid         only requests for this person
  latency_ms   wait so long before answering, and before anything is committed; with any kind.
               Replacing or deleting the faults lets go whoever waits
  status       for status_before and status_after; absent: 500
  body         for these, malformed and rate_limited; absent: what a Rails server would say
  retry_after  seconds, for rate_limited; absent: 1
`
}
