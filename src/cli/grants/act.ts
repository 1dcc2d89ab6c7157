/** `refresh` and `revoke`: they change what the gateway holds. */
import type { GatewayApi } from './api.ts'
import { fromNow } from './durations.ts'
import { AskedWrongly, clean, type Terminal } from './terminal.ts'

export interface ActOptions {
  readonly json: boolean
}

/** Renews a grant ahead of its time. Returns the exit code; throws `NotDone`. */
export async function refresh(
  api: GatewayApi,
  guid: string,
  { json }: ActOptions,
  terminal: Terminal,
): Promise<number> {
  const before = await api.grant(guid)
  const after = await api.refresh(guid, before.version)
  if (json) {
    terminal.out.write(`${JSON.stringify({ guid, version_before: before.version, ...after })}\n`)
    return 0
  }
  const expires = `${after.expires_at} (${fromNow(after.expires_at, terminal.now())})`
  terminal.out.write(`${guid}: version ${before.version} is now ${after.version}, its token expires ${expires}.\n`)
  return 0
}

/** Ends a person's authorization, here and at HealthTap. Throws `AskedWrongly` where nobody can be asked, and nobody has said yes. */
export async function revoke(
  api: GatewayApi,
  guid: string,
  { json, yes }: ActOptions & { readonly yes: boolean },
  terminal: Terminal,
): Promise<number> {
  if (!yes) {
    if (terminal.ask === null) throw new AskedWrongly('Nobody is here to be asked: say --yes to revoke it.')
    const { status, username } = await api.grant(guid)
    const whose = username === null ? '' : ` of ${clean(username)}`
    const answer = await terminal.ask(
      `Revoke the grant ${guid}${whose} (${status})? They have to authorize again. [y/N] `,
    )
    if (!/^y(es)?$/i.test(answer.trim())) {
      terminal.err.write('Nothing was done.\n')
      return 1
    }
  }
  const left = await api.revoke(guid)
  if (json) terminal.out.write(`${JSON.stringify({ guid, status: left === null ? 'revoked' : left.status })}\n`)
  else if (left === null) terminal.out.write(`${guid}: revoked at HealthTap, and gone.\n`)
  else
    terminal.out.write(
      `${guid}: served to nobody any more. HealthTap has not confirmed it yet; the gateway goes on trying.\n`,
    )
  return 0
}
