/** Writes the README's table of settings and .env.example anew from their declaration; a test fails when they differ. */
import { readFileSync, writeFileSync } from 'node:fs'
import { envExample, withSettingsTable } from '../test/support/settings-pages.ts'

const readme = new URL('../README.md', import.meta.url)

writeFileSync(readme, withSettingsTable(readFileSync(readme, 'utf8')))
writeFileSync(new URL('../.env.example', import.meta.url), envExample())
