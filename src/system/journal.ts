/** Rotations that the store would not take, one sealed file each, so that they outlive the process. */
import { createHash } from 'node:crypto'
import { mkdir, open, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Journal, Rotation } from '../ports/journal.ts'
import type { Codec } from '../store/codec.ts'

const SUFFIX = '.rotation'
const PLACE = 'journal'

/** `onUnreadable` is told the name of a file that cannot be opened; the file is left as it is. */
export function createFileJournal(directory: string, codec: Codec, onUnreadable: (file: string) => void): Journal {
  function fileOf(rotation: Rotation): string {
    const name = `${rotation.guid}\0${rotation.replacesVersion}\0${rotation.spentFingerprint}`
    return join(directory, `${createHash('sha256').update(name).digest('hex').slice(0, 32)}${SUFFIX}`)
  }

  return {
    async prepare() {
      await mkdir(directory, { recursive: true, mode: 0o700 })
      const file = join(directory, 'writable.draft')
      await writeFile(file, '', { mode: 0o600 })
      await rm(file)
    },

    async put(rotation) {
      const file = fileOf(rotation)
      const draft = `${file}.draft`
      const handle = await open(draft, 'w', 0o600)
      try {
        await handle.writeFile(codec.encode(rotation, PLACE))
        await handle.sync()
      } finally {
        await handle.close()
      }
      await rename(draft, file)
      await syncDirectory(directory)
    },

    async remove(rotation) {
      await rm(fileOf(rotation), { force: true })
    },

    async entries() {
      const names = await readdir(directory)
      const rotations: Rotation[] = []
      for (const name of names.filter(candidate => candidate.endsWith(SUFFIX))) {
        try {
          rotations.push(codec.decode(await readFile(join(directory, name), 'utf8'), PLACE) as Rotation)
        } catch {
          onUnreadable(name)
        }
      }
      return rotations.sort((first, second) => first.issuedAtMs - second.issuedAtMs)
    },
  }
}

/** Until then a crash of the machine may forget the file's name. */
async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** For a store that lives and dies with the process. */
export const noJournal: Journal = {
  async prepare() {},
  async put() {
    throw new Error('there is no journal')
  },
  async remove() {},
  async entries() {
    return []
  },
}
