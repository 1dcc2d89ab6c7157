// Compiles to dist/, and takes the Lua scripts along.
import { execFileSync } from 'node:child_process'
import { chmodSync, cpSync, rmSync } from 'node:fs'

rmSync('dist', { recursive: true, force: true })
execFileSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json'], { stdio: 'inherit' })
cpSync('src/store/redis/lua', 'dist/src/store/redis/lua', { recursive: true })
chmodSync('dist/src/main.js', 0o755)
