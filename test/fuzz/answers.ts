/** What has to be true of every answer, whatever was asked. */
import type { ValidateFunction } from 'ajv'
import { PROBLEMS, type ProblemCode } from '../../src/errors.ts'
import type { DocumentedAnswer, Operation } from './operations.ts'
import { demand } from './violation.ts'
import type { Answer } from './wire.ts'

export interface Expectations {
  /** null: the document has none of this method and path. */
  readonly operation: Operation | null
  readonly isHead: boolean
  /** The request may be one that Node or the framework refuses before any route is found. */
  readonly isOdd: boolean
  /** What of the request may stand in an answer. */
  readonly echo: string
  /** The provider has failed a short while ago: answers that say so are in order. */
  readonly providerFails: boolean
}

export interface Known {
  readonly fitsProblem: ValidateFunction
  readonly appId: string
  readonly secrets: readonly string[]
  /** The OpenAPI document: its examples are nobody's. */
  readonly document: string
}

/** Problems that only a provider which fails brings about. */
const PROVIDERS: readonly ProblemCode[] = [
  'client_misconfigured',
  'provider_response_invalid',
  'guid_unresolved',
  'provider_unavailable',
  'outcome_unknown',
]
/** Refused before it is read as a request: there is no code of its own. See docs/limits.md. */
const UNREADABLE = [408, 431]
/** Where something of ours runs, as a stack trace tells it. */
const INSIDE =
  /\bat .{1,80}:\d+:\d+|node_modules|file:\/\/|\.[jt]s:\d+|\/tmp\/|\/work\/|ENOENT|ECONNREFUSED|RangeError|TypeError/

/** Of the sixteen; by chance a token has fewer once in some million years. */
const LEAST_DIFFERENT = 10

/** Throws `Violation`. Returns the problem's code; null: it is none, or a page, or has no body. */
export function checkAnswer(answer: Answer, expected: Expectations, known: Known): ProblemCode | null {
  const { status, headers } = answer
  demand(status !== 500, () => `500: ${answer.body}`)
  checkSecrets(answer, expected, known)
  demand(headers.get('x-request-id'), () => `${status} without x-request-id: ${answer.body.slice(0, 200)}`)
  const type = (headers.get('content-type') ?? '').split(';')[0] ?? ''
  const documented = expected.operation?.answers.get(status)
  const isRefusal = expected.isOdd && type === 'application/problem+json'
  const isDocumentedAsOther = documented !== undefined && documented.type !== 'application/problem+json' && !isRefusal
  if (status < 400 || isDocumentedAsOther) {
    if (expected.operation !== null) checkDocumented(answer, type, documented, expected, known)
    // 502 is said to a browser that brings an error along; it need not have come from the provider.
    if (status > 502 && type === 'text/html') {
      demand(expected.providerFails, () => `${status}, and the provider does not fail`)
    }
    return null
  }
  demand(type === 'application/problem+json', () => `${status} is ${type || 'nothing'}: ${answer.body.slice(0, 200)}`)
  if (expected.isHead) return null
  const code = checkProblem(answer, expected, known)
  if (expected.operation !== null) checkCode(answer, code, documented, expected)
  return code
}

function checkProblem(answer: Answer, expected: Expectations, known: Known): ProblemCode {
  const problem = parsed(answer) as WireProblem
  const code = checkMembers(problem, answer, expected, known)
  demand(problem.status === answer.status, () => `${answer.status} says that it is ${problem.status}`)
  return code
}

interface WireProblem {
  readonly code: ProblemCode
  readonly status: number
  readonly request_id: string
}

/** Of a whole answer, or of one of its results. */
function checkMembers(problem: WireProblem, answer: Answer, expected: Expectations, known: Known): ProblemCode {
  const { fitsProblem } = known
  demand(fitsProblem(problem), () => `the problem breaks its schema: ${reasons(fitsProblem)} in ${answer.body}`)
  const { code, status, request_id: requestId } = problem
  demand(status !== 500, () => `500: ${JSON.stringify(problem)}`)
  const isUnreadable = UNREADABLE.includes(status) && code === 'validation_failed'
  demand(PROBLEMS[code].status === status || isUnreadable, () => `${code} is not ${status}`)
  demand(requestId === answer.headers.get('x-request-id'), () => `request_id is not x-request-id: ${answer.body}`)
  demand(code !== 'store_unavailable' && code !== 'rate_limited', () => `${code}, and there is no reason for it`)
  demand(!PROVIDERS.includes(code) || expected.providerFails, () => `${code}, and the provider does not fail`)
  return code
}

/** The code is one that the route's documentation names under this status. */
function checkCode(
  answer: Answer,
  code: ProblemCode,
  documented: DocumentedAnswer | undefined,
  expected: Expectations,
): void {
  const isRefusedBefore = code === 'validation_failed' && (expected.isOdd || UNREADABLE.includes(answer.status))
  if (isRefusedBefore) return
  demand(documented, () => `${answer.status} ${code} is not documented`)
  demand(documented.codes.includes(code), () => `${code} is not documented under ${answer.status}`)
}

function checkDocumented(
  answer: Answer,
  type: string,
  documented: DocumentedAnswer | undefined,
  expected: Expectations,
  known: Known,
): void {
  const { isHead } = expected
  demand(documented, () => `${answer.status} is not documented`)
  if (documented.type === null) {
    demand(answer.body === '', () => `${answer.status} has a body: ${answer.body.slice(0, 200)}`)
    return
  }
  demand(
    type === documented.type,
    () => `${answer.status} is ${type || 'nothing'}, and documented as ${documented.type}`,
  )
  if (isHead || !/json$/.test(type) || documented.fits === null) return
  const { fits } = documented
  const body = parsed(answer)
  demand(fits(body), () => `${answer.status} breaks its schema: ${reasons(fits)} in ${answer.body.slice(0, 500)}`)
  const { results = [] } = body as { results?: readonly { problem?: WireProblem }[] }
  for (const { problem } of results) if (problem !== undefined) checkMembers(problem, answer, expected, known)
}

function checkSecrets(answer: Answer, { operation, echo }: Expectations, known: Known): void {
  const heads = [...answer.headers].map(([name, value]) => `${name}: ${value}`).join('\n')
  const text = `${heads}\n${answer.body}`
  for (const secret of known.secrets)
    demand(!text.includes(secret), () => `a secret is answered: ${secret.slice(0, 8)}…`)
  const isAsset = answer.headers.get('content-type')?.startsWith('text/html') !== true && !/json/.test(heads)
  if (isAsset) return
  demand(!INSIDE.test(answer.body), () => `the answer shows its inside: ${answer.body.slice(0, 500)}`)
  // Tokens, codes and secrets of the provider look like this; a token that was asked for is one.
  const handedOut = accessTokensIn(answer, operation)
  for (const [found] of text.matchAll(/[0-9a-f]{64}/g)) {
    // A made-up name may consist of such characters, but of few.
    if (new Set(found).size < LEAST_DIFFERENT) continue
    const isKnown =
      handedOut.includes(found) || found === known.appId || echo.includes(found) || known.document.includes(found)
    demand(isKnown, () => `something secret is answered: ${found.slice(0, 8)}… in ${answer.body.slice(0, 300)}`)
  }
}

interface WithTokens {
  readonly access_token?: string
  readonly results?: readonly { readonly token?: { readonly access_token: string } }[]
}

function accessTokensIn(answer: Answer, operation: Operation | null): readonly (string | undefined)[] {
  if (operation === null || answer.status >= 300 || !answer.body.startsWith('{')) return []
  const { access_token: token, results = [] } = parsed(answer) as WithTokens
  return [token, ...results.map(result => result.token?.access_token)]
}

export function parsed(answer: Answer): unknown {
  try {
    return JSON.parse(answer.body)
  } catch {
    demand(false, () => `${answer.status} is no JSON: ${answer.body.slice(0, 200)}`)
  }
}

function reasons({ errors }: ValidateFunction): string {
  return (errors ?? [])
    .map(({ instancePath, message, params }) => `${instancePath} ${message} ${JSON.stringify(params)}`)
    .join('; ')
}
