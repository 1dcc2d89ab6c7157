/** docs/security.md claims what tests show: the tests that it names are there. */
import { existsSync, readFileSync } from 'node:fs'
import t from 'tap'

const page = readFileSync('docs/security.md', 'utf8')

/** Each file that is named, with the titles that follow it, up to the next file or the end of the line. */
const named = [...page.matchAll(/`([a-z0-9]+\/[a-z0-9-]+\.test\.ts)`([^`\n]*)/g)].map(([, file = '', rest = '']) => ({
  file: `test/${file}`,
  titles: [...rest.matchAll(/\*([^*]+)\*/g)].map(([, title = '']) => title),
}))

t.test('every test that the threat model names is there, under that title', async t => {
  t.ok(named.length > 50 && named.flatMap(({ titles }) => titles).length > 30, 'it names many')
  for (const { file, titles } of named) {
    if (!existsSync(file)) {
      t.fail(`${file} is not there`)
      continue
    }
    const text = readFileSync(file, 'utf8')
    for (const title of titles) t.ok(text.includes(title), `${file}: ${title}`)
  }
})

t.test('no row goes without one, unless it says why', async t => {
  const rows = page.split('\n').filter(line => /^\| \d/.test(line))
  t.ok(rows.length > 40)
  for (const row of rows) {
    t.match(row.split('|').at(-2), /\.test\.ts`|by construction|\]\([a-z-]+\.md\)/, row.slice(0, 60))
  }
})
