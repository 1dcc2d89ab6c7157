/** A copy of the project with deliberate faults in it, for a while. */
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** `find` stands once in `file`. */
export interface Edit {
  readonly file: string
  readonly find: string
  readonly replace: string
}

const root = join(import.meta.dirname, '..')

/** Calls `work` with the directory of the copy, which consists of `parts` and lies inside the project, so that its packages are found. */
export async function withCopy<T>(
  parts: readonly string[],
  edits: readonly Edit[],
  work: (dir: string) => Promise<T>,
): Promise<T> {
  const copy = await mkdtemp(join(root, '.mutant-'))
  try {
    for (const part of parts) await cp(join(root, part), join(copy, part), { recursive: true })
    for (const edit of edits) await apply(copy, edit)
    return await work(copy)
  } finally {
    await rm(copy, { recursive: true, force: true })
  }
}

async function apply(copy: string, { file, find, replace }: Edit): Promise<void> {
  const path = join(copy, file)
  const text = await readFile(path, 'utf8')
  const times = text.split(find).length - 1
  if (times !== 1) throw new Error(`stands ${times} times in ${file}, and should once: ${find}`)
  await writeFile(
    path,
    text.replace(find, () => replace),
  )
}
