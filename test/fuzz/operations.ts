/** The routes as the running gateway documents them: a new one is fuzzed without anybody's thinking of it. */
import type { ValidateFunction } from 'ajv'
import { closed, type Schema, textValidatorOf, validatorOf, withoutRefs } from './schema.ts'

export interface Operation {
  /** As it stands in the document: `GET /v1/grants/{guid}`. */
  readonly name: string
  readonly method: string
  readonly path: string
  /** Names in the path, each with its schema; all of the query, as one object. */
  readonly params: Readonly<Record<string, Schema>>
  readonly query: Schema
  /** null: it takes none. */
  readonly body: Schema | null
  readonly needsKey: boolean
  readonly answers: ReadonlyMap<number, DocumentedAnswer>
  /** null where a part is not checked by a schema. */
  readonly fits: {
    readonly params: (fields: Record<string, unknown>) => boolean
    readonly query: (fields: Record<string, unknown>) => boolean
    readonly body: ValidateFunction
  }
}

export interface DocumentedAnswer {
  /** Without parameters; null: no body. */
  readonly type: string | null
  readonly fits: ValidateFunction | null
  /** Problem codes that its description names; empty: it names none. */
  readonly codes: readonly string[]
}

export interface Document {
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> }
  readonly paths: Readonly<Record<string, Readonly<Record<string, DocumentedOperation>>>>
}

interface DocumentedOperation {
  readonly security?: readonly object[]
  readonly parameters?: readonly { in: 'path' | 'query' | 'header'; name: string; required?: boolean; schema: Schema }[]
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: Schema }>> }
  readonly responses: Readonly<
    Record<string, { description?: string; content?: Readonly<Record<string, { readonly schema: Schema }>> }>
  >
}

export function operationsOf(document: Document): readonly Operation[] {
  const { schemas } = document.components
  return Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, documented]) => operationOf(path, method.toUpperCase(), documented, schemas)),
  )
}

function operationOf(
  path: string,
  method: string,
  documented: DocumentedOperation,
  schemas: Readonly<Record<string, Schema>>,
): Operation {
  const { parameters = [], requestBody, responses, security } = documented
  const unknown = parameters.filter(({ in: place }) => place !== 'path' && place !== 'query')
  if (unknown.length > 0) throw new Error(`${method} ${path}: the fuzz knows no parameters in ${unknown[0]?.in}`)
  const named = (place: 'path' | 'query') =>
    Object.fromEntries(
      parameters.filter(one => one.in === place).map(({ name, schema }) => [name, withoutRefs(schema, schemas)]),
    )
  const required = parameters.filter(one => one.in === 'query' && one.required === true).map(({ name }) => name)
  const params = named('path')
  const query: Schema = { type: 'object', properties: named('query'), required, additionalProperties: false }
  const body = requestBody?.content['application/json']?.schema
  if (requestBody !== undefined && body === undefined) throw new Error(`${method} ${path}: its body is no JSON`)
  const bodySchema = body === undefined ? null : withoutRefs(body, schemas)
  return {
    name: `${method} ${path}`,
    method,
    path,
    params,
    query,
    body: bodySchema,
    needsKey: security === undefined || security.length > 0,
    answers: new Map(
      Object.entries(responses).map(([status, { description = '', content = {} }]) => {
        const [entry] = Object.entries(content)
        const fits = entry === undefined ? null : validatorOf(closed(withoutRefs(entry[1].schema, schemas)))
        const codes = [...description.matchAll(/`([a-z_]+)`:/g)].map(([, code = '']) => code)
        return [Number(status), { type: entry?.[0] ?? null, fits, codes }]
      }),
    ),
    fits: {
      params: textValidatorOf({ type: 'object', properties: params }),
      query: textValidatorOf(query),
      body: validatorOf(bodySchema ?? {}),
    },
  }
}
