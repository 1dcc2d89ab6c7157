import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** The version in package.json, wherever this runs from: the sources, or `dist/`. */
export const VERSION: string = readVersion(import.meta.dirname)

function readVersion(directory: string): string {
  try {
    return JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8')).version
  } catch (error) {
    const parent = dirname(directory)
    if (parent === directory) throw error
    return readVersion(parent)
  }
}
