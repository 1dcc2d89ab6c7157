import type { ServeConfig } from '../../config.ts'
import type { Sample } from '../../store/redis/sample.ts'
import type { EncryptionKeys } from '../../store/sealing.ts'
import { type Check, failed, named, ok, warning } from './check.ts'

/** The keys by themselves. What they are for is looked at with Redis, and with the journal. */
export function keyChecks({ auditKey, encryptionKeys }: ServeConfig): readonly Check[] {
  const ids = encryptionKeys.map(({ id }) => id)
  const secrets = encryptionKeys.map(({ key }) => key.export())
  const same = ids.filter((_, index) => secrets.findIndex(each => each.equals(secrets[index] ?? each)) < index)
  const weak = ids.filter((_, index) => new Set(secrets[index]).size < FEWEST_BYTES)
  const isShared = auditKey !== null && secrets.some(each => each.equals(auditKey.export()))
  return [
    ...named(
      'encryption keys',
      [
        ...weak.map(id => failed(`${id} is not random: make one with healthtap-gateway keygen, then rotate-keys`)),
        ...same.map(id => warning(`${id} is the same key as another, under another name`)),
      ],
      ok(`${ids[0]} seals${ids.length > 1 ? `, ${ids.slice(1).join(', ')} open` : ''}`),
    ),
    ...named(
      'audit key',
      [
        ...(auditKey === null
          ? [warning('AUDIT_KEY is not set: whoever verifies the audit stream needs ENCRYPTION_KEYS; keygen --audit')]
          : []),
        ...(isShared ? [failed('AUDIT_KEY is one of ENCRYPTION_KEYS: make another with keygen --audit')] : []),
      ],
      ok('set'),
    ),
  ]
}

/** Of 32 random bytes, fewer than these are different once in far more than the age of the world. */
const FEWEST_BYTES = 12

/** What a sample of the records says of the keys. */
export function recordLines({ opened, tally }: Sample, encryptionKeys: EncryptionKeys) {
  const [sealing, ...others] = encryptionKeys.map(({ id }) => id)
  const unreadable = tally.unreadable.map(({ count, keyId, names, reason }) => {
    const which = `${count} of ${opened + tally.unreadableCount} looked at: ${names.join(', ')}`
    return reason === 'unknown_key'
      ? failed(`${which}: sealed with ${keyId}, which is not in ENCRYPTION_KEYS: add it at the end`)
      : failed(`${which}: altered, or another key has the name ${keyId}: see docs/key-rotation.md`)
  })
  const waiting = others.filter(id => tally.neededBy(id) > 0)
  const inUse = waiting.map(id => `${id} (${tally.neededBy(id)})`).join(', ')
  return [
    ...unreadable,
    ...(waiting.length > 0
      ? [warning(`some are still sealed with ${inUse}: run rotate-keys to seal them with ${sealing}`)]
      : []),
  ]
}
