// Compiles to dist/, and takes along what is not compiled: the Lua scripts and the console.
import { execFileSync } from 'node:child_process'
import { chmodSync, cpSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'

// Also for a copy of the project inside it, which has no packages of its own.
const compiler = createRequire(import.meta.url).resolve('typescript/bin/tsc')

rmSync('dist', { recursive: true, force: true })
execFileSync(process.execPath, [compiler, '-p', 'tsconfig.build.json'], { stdio: 'inherit' })
cpSync('src/store/redis/lua', 'dist/src/store/redis/lua', { recursive: true })
cpSync('console', 'dist/console', { recursive: true, filter: name => !name.endsWith('.d.ts') })
chmodSync('dist/src/main.js', 0o755)
