/** A page of the docs as a manual: its shell commands, to be run as they stand. */
import { textOf } from './deploy.ts'

export interface Manual {
  /** What the page has its reader define first, in a block that begins with this. */
  setUp(beginning: string): string
  /** The shell commands under this heading, block by block. */
  under(heading: string): readonly string[]
}

export function manual(file: string): Manual {
  const text = textOf(file)
  return {
    setUp(beginning) {
      const blocks = [...text.matchAll(/^```\n(.*?)^```$/gms)].map(([, block = '']) => block)
      const found = blocks.find(block => block.startsWith(beginning))
      if (found === undefined) throw new Error(`${file} has no block that begins with ${beginning}`)
      return found
    },
    under(heading) {
      const section = text.split(/^#{2,3} /m).find(part => part.startsWith(`${heading}\n`)) ?? ''
      return [...section.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, commands = '']) => commands)
    },
  }
}
