import { groupedBy, short } from '../facts.ts'
import type { History, Violation } from '../history.ts'

/** The provider has one user for a username, and every answer for the name is about that user. */
export function oneUserPerName({ calls, requests }: History): Violation[] {
  const provisions = calls.filter(({ operation, tokens }) => operation === 'provision' && tokens.length > 0)
  const named = [...groupedBy(provisions, ({ asked }) => asked.username ?? '')].flatMap(([username, answers]) => {
    const byGuid = groupedBy(answers, ({ tokens }) => tokens[0]?.guid ?? '')
    if (byGuid.size < 2) return []
    const guids = [...byGuid.keys()].map(short).join(' and ')
    const lines = [...byGuid.values()].map(([first]) => first?.line ?? 0)
    return [{ what: `the username ${username} was answered the users ${guids}`, lines }]
  })
  const made = requests.filter(({ operation, outcome }) => operation === 'users' && outcome === 'ok')
  const twice = [...groupedBy(made, ({ subject }) => subject ?? '')].flatMap(([username, users]) => {
    const lines = users.map(({ line }) => line)
    return users.length < 2 ? [] : [{ what: `the provider made ${users.length} users for ${username}`, lines }]
  })
  return [...named, ...twice]
}
