/** Rotations that the store would not take, one sealed file each, so that they outlive the process. */
import { createHash, randomUUID } from 'node:crypto'
import { mkdir, open, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Journal, Rotation } from '../ports/journal.ts'
import { RecordUnreadable } from '../ports/store.ts'
import { type Codec, keyIdsIn } from '../store/codec.ts'
import type { Tally } from '../store/tally.ts'
import { syncDirectory } from './directories.ts'

const SUFFIX = '.rotation'
const PLACE = 'journal'
/** A disk that is full takes files, as long as nothing is in them. */
const AS_LARGE_AS_AN_ENTRY = ' '.repeat(4_096)

/**
 * `onUnreadable` is told the name of a file that cannot be opened; the file is left as it is. Replicas may share a
 * directory: whichever starts next stores what any of them has left there.
 */
export function createFileJournal(directory: string, codec: Codec, onUnreadable: (file: string) => void): Journal {
  function fileOf(rotation: Rotation): string {
    const name = `${rotation.guid}\0${rotation.replacesVersion}\0${rotation.spentFingerprint}`
    return join(directory, `${createHash('sha256').update(name).digest('hex').slice(0, 32)}${SUFFIX}`)
  }

  return {
    async prepare() {
      await mkdir(directory, { recursive: true, mode: 0o700 })
      // A name of its own: replicas that share the directory may start at the same moment.
      const file = join(directory, `writable-${randomUUID()}.draft`)
      await writeFile(file, AS_LARGE_AS_AN_ENTRY, { mode: 0o600 })
      await rm(file)
    },

    async count() {
      return (await entriesIn(directory)).length
    },

    async put(rotation) {
      const file = fileOf(rotation)
      await writeDurably(directory, file, `${file}.draft`, codec.encode(rotation, PLACE))
    },

    async remove(rotation) {
      await rm(fileOf(rotation), { force: true })
    },

    async entries() {
      const rotations: Rotation[] = []
      for (const name of await entriesIn(directory)) {
        try {
          const text = await readFile(join(directory, name), 'utf8').catch(unlessGone)
          if (text !== null) rotations.push(codec.decode(text, PLACE) as Rotation)
        } catch {
          onUnreadable(name)
        }
      }
      return rotations.sort((first, second) => first.issuedAtMs - second.issuedAtMs)
    },
  }
}

async function entriesIn(directory: string): Promise<readonly string[]> {
  const names = (await readdir(directory).catch(unlessGone)) ?? []
  return names.filter(name => name.endsWith(SUFFIX))
}

/**
 * Seals every entry anew that is not sealed with the key that seals now; counts them in `tally`. An entry that a gateway
 * drops at this very moment may come back by it: its next start finds that it was committed. No directory: no entries.
 */
export async function resealJournal(directory: string, codec: Codec, tally: Tally): Promise<void> {
  for (const name of await entriesIn(directory)) {
    const file = join(directory, name)
    const text = await readFile(file, 'utf8').catch(unlessGone)
    if (text === null) continue
    tally.needs(keyIdsIn(text))
    try {
      const resealed = codec.reseal(text, PLACE)
      if (resealed === null) {
        tally.already += 1
        continue
      }
      await writeDurably(directory, file, `${file}.resealed`, resealed)
      tally.resealed += 1
    } catch (error) {
      if (!(error instanceof RecordUnreadable)) throw error
      tally.doesNotOpen(error, `journal entry ${name}`)
    }
  }
}

/** null: there is nothing there, or not any more. */
function unlessGone(error: NodeJS.ErrnoException): null {
  if (error.code === 'ENOENT') return null
  throw error
}

/** The file has its old text or its new one, whatever happens. */
async function writeDurably(directory: string, file: string, draft: string, text: string): Promise<void> {
  const handle = await open(draft, 'w', 0o600)
  try {
    await handle.writeFile(text)
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(draft, file)
  await syncDirectory(directory)
}

/** For a store that lives and dies with the process. */
export const noJournal: Journal = {
  async prepare() {},
  async count() {
    return null
  },
  async put() {
    throw new Error('there is no journal')
  },
  async remove() {},
  async entries() {
    return []
  },
}
