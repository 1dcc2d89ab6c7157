/**
 * The program as it ships: built, since a process that has to compile itself first takes seconds to start. `npm test` builds it;
 * whoever runs one file does, where it is missing or old.
 */
import { readdirSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'

const MAIN = resolve('dist/src/main.js')
const SOURCES = ['src', 'plugins', 'routes', 'sandbox', 'console']

/** What starts it: Node, and the file. Throws where that is older than what it was built from. */
export function program(): readonly [string, string] {
  const builtAtMs = statSync(MAIN, { throwIfNoEntry: false })?.mtimeMs ?? 0
  if (SOURCES.some(folder => isNewer(folder, builtAtMs))) {
    throw new Error('What is in dist is older than its sources: npm run build')
  }
  return [process.execPath, MAIN]
}

function isNewer(folder: string, atMs: number): boolean {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  return files.some(file => statSync(join(folder, file)).mtimeMs > atMs)
}
