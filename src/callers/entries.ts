/** Who may call, as an operator writes it down: the JSON of `CALLERS` and of `JWT_ISSUERS`. */
import { Ajv, type ErrorObject } from 'ajv'
import { type Static, type TSchema, Type } from 'typebox'
import { PERMISSIONS } from './caller.ts'

/** Signatures that a public key verifies. `none`, and secrets that both sides know, are not among them. */
const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA'] as const

/** `title` is what a wrong value is told. */
const text = (title: string) => Type.String({ minLength: 1, maxLength: 1024, title })
const oneOf = <T extends string>(names: readonly T[]) =>
  Type.Unsafe<T>({ type: 'string', enum: names, title: `has to be one of ${names.join(', ')}` })
const list = <T extends TSchema>(items: T, title: string) => Type.Array(items, { minItems: 1, maxItems: 10_000, title })

const Sha256 = Type.String({ pattern: '^[0-9A-Fa-f]{64}$', title: 'has to be 64 hex digits' })
const permissions = [...PERMISSIONS, '*'] as const

export const CallerEntry = Type.Object(
  {
    name: Type.String({ pattern: '^[\\w.-]{1,64}$', title: 'has to be 1 to 64 letters, digits, . _ -' }),
    permissions: Type.Array(oneOf(permissions), { title: `has to be a list of ${permissions.join(', ')}` }),
    /** One API key; or several, so that a new one can be handed out before the old one goes. */
    key_sha256: Type.Optional(Sha256),
    keys: Type.Optional(
      list(
        Type.Object(
          {
            sha256: Sha256,
            /** From then on it is refused; absent: it does not expire. */
            not_after: Type.Optional(
              Type.String({
                pattern: '^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d(\\.\\d+)?Z$',
                title: 'has to be a time such as 2027-01-31T00:00:00Z',
              }),
            ),
          },
          { additionalProperties: false, title: 'has to be an object' },
        ),
        'has to be a list of {"sha256", "not_after"?}',
      ),
    ),
    /** JWTs of an issuer in JWT_ISSUERS. Without a subject: of all its subjects, with those of the permissions that `scope` names. */
    jwt: Type.Optional(
      Type.Object(
        {
          issuer: text('has to be the issuer of one of JWT_ISSUERS'),
          subject: Type.Optional(text('has to be the value of sub')),
        },
        { additionalProperties: false, title: 'has to be {"issuer", "subject"?}' },
      ),
    ),
    /** Client certificates, signed by TLS_CLIENT_CA. */
    certificate: Type.Optional(
      Type.Object(
        {
          subject: Type.Optional(text('has to be a subject such as CN=scheduler,O=Example')),
          san: Type.Optional(
            Type.String({
              pattern: '^(DNS|URI|email|IP Address):[\\x21-\\x7e]{1,1000}$',
              title: 'has to be a name such as DNS:scheduler.internal or URI:spiffe://example/scheduler',
            }),
          ),
        },
        { additionalProperties: false, minProperties: 1, maxProperties: 1, title: 'has to be {"subject"} or {"san"}' },
      ),
    ),
    /** Requests a second, averaged over ten; 0: no limit. Absent: RATE_LIMIT_PER_CALLER. */
    rate_limit: Type.Optional(
      Type.Integer({ minimum: 0, maximum: 1_000_000, title: 'has to be a whole number, 0 for no limit' }),
    ),
    scopes: Type.Optional(list(text('has to be a scope'), 'has to be a list of scopes')),
    guids: Type.Optional(list(text('has to be a guid'), 'has to be a list of guids')),
  },
  { additionalProperties: false, title: 'has to be an object' },
)
export type CallerEntry = Static<typeof CallerEntry>

export const IssuerEntry = Type.Object(
  {
    /** `iss`, exactly. */
    issuer: text('has to be the value of iss'),
    /** `aud`, or one of several. */
    audience: text('has to be the value of aud that names this gateway'),
    jwks_url: Type.Optional(text('has to be an https:// address')),
    jwks_file: Type.Optional(text('has to be the path of a file')),
    algorithms: Type.Optional(list(oneOf(ALGORITHMS), `has to be a list of ${ALGORITHMS.join(', ')}`)),
    clock_leeway_seconds: Type.Optional(
      Type.Integer({ minimum: 0, maximum: 60, title: 'has to be a whole number from 0 to 60' }),
    ),
  },
  { additionalProperties: false, title: 'has to be an object' },
)
export type IssuerEntry = Static<typeof IssuerEntry>

/** A JSON Web Key Set (RFC 7517), as far as it is looked at here. */
export interface KeySet {
  readonly keys: readonly Readonly<Record<string, unknown>>[]
}

/** An issuer, with what its `jwks_file` holds. */
export interface Issuer extends Omit<IssuerEntry, 'jwks_file'> {
  readonly jwks?: KeySet
}

const ajv = new Ajv({ allErrors: true, strictTypes: false, verbose: true })
const validateCallers = ajv.compile(Type.Array(CallerEntry))
const validateIssuers = ajv.compile(Type.Array(IssuerEntry))

/** What is wrong with a list of callers, each as `[0].name has to be …`; the values themselves are not quoted. */
export function wrongCallers(entries: unknown): readonly string[] {
  if (!validateCallers(entries)) return complaints(validateCallers.errors)
  const callers = entries as readonly CallerEntry[]
  const holders = new Map<string, CallerEntry>()
  return callers.flatMap((entry, index) => {
    const { key_sha256: hash, keys, jwt, certificate } = entry
    const hasWay = [hash, keys, jwt, certificate].some(way => way !== undefined)
    const others = hashesOf(entry).map(sha256 => holders.get(sha256))
    for (const sha256 of hashesOf(entry)) holders.set(sha256, entry)
    const other = others.find(holder => holder !== undefined)
    return [
      ...(hasWay ? [] : [`[${index}] has to say how it is known: key_sha256, keys, jwt or certificate`]),
      ...(other === undefined ? [] : [`[${index}] has an API key that ${other.name} has, too`]),
    ]
  })
}

/** In lower case, as they are looked up. */
function hashesOf({ key_sha256: hash, keys = [] }: CallerEntry): readonly string[] {
  return [...(hash === undefined ? [] : [hash]), ...keys.map(({ sha256 }) => sha256)].map(text => text.toLowerCase())
}

/** As `wrongCallers`. */
export function wrongIssuers(entries: unknown): readonly string[] {
  if (!validateIssuers(entries)) return complaints(validateIssuers.errors)
  const names = (entries as readonly IssuerEntry[]).map(({ issuer }) => issuer)
  return (entries as readonly IssuerEntry[]).flatMap((entry, index) => [
    ...((entry.jwks_url === undefined) === (entry.jwks_file === undefined)
      ? [`[${index}] has to have either jwks_url or jwks_file`]
      : []),
    ...(names.indexOf(entry.issuer) < index ? [`[${index}].issuer is there twice`] : []),
  ])
}

function complaints(errors: readonly ErrorObject[] | null | undefined): readonly string[] {
  const all = (errors ?? []).map(complaint)
  return [...new Set(all)]
}

function complaint({ instancePath, keyword, params, parentSchema }: ErrorObject): string {
  const place = instancePath.replace(/\/(\d+)/g, '[$1]').replaceAll('/', '.')
  const schema = (parentSchema ?? {}) as Described
  if (keyword === 'additionalProperties') return `${place}.${params.additionalProperty} is not known`
  if (keyword !== 'required') return `${place} ${schema.title}`
  return `${place}.${params.missingProperty} ${schema.properties?.[params.missingProperty]?.title}`
}

interface Described {
  readonly title?: string
  readonly properties?: Readonly<Record<string, Described>>
}
