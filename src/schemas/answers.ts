import { Type } from 'typebox'
import { PROBLEMS, type ProblemCode } from '../errors.ts'
import { Problem, ref } from './index.ts'

/** The problems every route under `/v1` can meet. */
const EVERYWHERE: readonly ProblemCode[] = [
  'unauthorized',
  'forbidden',
  'rate_limited',
  'internal_error',
  'store_unavailable',
]

/** The `response` part of a route for its problems: one entry a status, which names the codes. */
export function problemAnswers(...own: readonly ProblemCode[]) {
  const codes = [...own, ...EVERYWHERE]
  const byStatus = new Map<number, ProblemCode[]>()
  for (const code of codes) byStatus.set(PROBLEMS[code].status, [...(byStatus.get(PROBLEMS[code].status) ?? []), code])
  return Object.fromEntries(
    [...byStatus].map(([status, same]) => [
      status,
      {
        description: same.map(code => `\`${code}\`: ${PROBLEMS[code].title}.`).join(' '),
        content: { 'application/problem+json': { schema: ref(Problem) } },
        ...retryAfter(status),
      },
    ]),
  )
}

function retryAfter(status: number) {
  if (status !== 429 && status !== 503) return {}
  return { headers: { 'retry-after': Type.Integer({ description: 'Seconds until asking again makes sense.' }) } }
}
