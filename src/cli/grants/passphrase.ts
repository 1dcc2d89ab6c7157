import { readFileSync } from 'node:fs'
import { Secret } from '../../ports/secret.ts'
import { reasonOf } from '../reason.ts'
import { AskedWrongly, type Terminal } from './terminal.ts'

/** Each guess costs half a second and 128 MB: what is shorter is still found. */
const SHORTEST = 12

/**
 * From a file, whose last line end does not count, or from whoever sits at the terminal; `isNew`: they type it twice.
 * Throws `AskedWrongly`.
 */
export async function readPassphrase(file: string | undefined, isNew: boolean, { ask }: Terminal): Promise<Secret> {
  const text = file === undefined ? await typed(ask, isNew) : fromFile(file)
  if (isNew && [...text].length < SHORTEST)
    throw new AskedWrongly(`A passphrase has to have at least ${SHORTEST} characters.`)
  return new Secret(text)
}

function fromFile(file: string): string {
  try {
    return readFileSync(file, 'utf8').replace(/\r?\n$/, '')
  } catch (error) {
    throw new AskedWrongly(`The passphrase cannot be read from ${file} (${reasonOf(error)}).`)
  }
}

async function typed(ask: Terminal['ask'], isNew: boolean): Promise<string> {
  if (ask === null) throw new AskedWrongly('Nobody is here to type a passphrase: name a file with --passphrase-file.')
  const text = await ask('Passphrase: ', { hidden: true })
  if (isNew && (await ask('Once more:  ', { hidden: true })) !== text) {
    throw new AskedWrongly('These were two different passphrases.')
  }
  return text
}
