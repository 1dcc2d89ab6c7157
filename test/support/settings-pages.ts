/** The settings as people read them, made from their declaration: the README's table, and `.env.example`. */
import { SECTIONS, type Setting } from '../../src/settings/schema.ts'

const BEGIN = '<!-- made by: npm run settings -->'
const END = '<!-- until here -->'

/** `readme` with its table made anew. */
export function withSettingsTable(readme: string): string {
  const [before, rest] = [readme.slice(0, readme.indexOf(BEGIN)), readme.slice(readme.indexOf(END))]
  if (!rest.startsWith(END)) throw new Error(`The README has lost one of: ${BEGIN} ${END}`)
  const rows = Object.values(SECTIONS).flatMap(section =>
    entriesOf(section).map(([name, setting]) => `| \`${name}\` | ${defaultIn(setting)} | ${setting.about} |`),
  )
  return [`${before}${BEGIN}`, '| name | default | meaning |', '| --- | --- | --- |', ...rows, rest].join('\n')
}

function defaultIn({ fallback, otherwise = 'none' }: Setting<unknown>): string {
  if (fallback === undefined) return 'required'
  return fallback === null ? otherwise : `\`${fallback}\``
}

const WIDTH = 100

/** A file to copy to `.env`: whatever has to be there is there, and empty; everything else is as if it were absent. */
export function envExample(): string {
  const sections = Object.entries(SECTIONS).map(([title, section]) =>
    [`## ${title}`, ...entriesOf(section).map(([name, setting]) => linesFor(name, setting))].join('\n\n'),
  )
  return `${[HEADER, ...sections].join('\n\n')}\n`
}

const HEADER = `# Settings of \`healthtap-gateway serve\`, with what is taken where they are absent. Copy this file to .env, and fill in
# what is empty. Made by: npm run settings
#
# .env is read in development alone: not where NODE_ENV is production, as \`npm start\` and the image have it. Each setting
# can come from a file instead: NAME_FILE=/run/secrets/…`

function linesFor(name: string, { about, fallback }: Setting<unknown>): string {
  const comment = wrapped(`${plain(about)}${fallback === undefined ? '. Required' : ''}`)
  return [...comment, fallback === undefined ? `${name}=` : `#${name}=${quoted(fallback ?? '')}`].join('\n')
}

/** Without Markdown: links as their targets in brackets. */
function plain(markdown: string): string {
  return markdown
    .replaceAll('`', '')
    .replaceAll(/\[([^\]]+)\]\(([^)]+)\)/g, (_link, text, target) => (text === target ? text : `${text} (${target})`))
}

function quoted(value: string): string {
  return /[\s#]/.test(value) ? `"${value}"` : value
}

function wrapped(text: string): readonly string[] {
  const lines: string[] = []
  for (const word of text.split(' ')) {
    const last = lines.at(-1)
    if (last === undefined || last.length + word.length >= WIDTH) lines.push(`# ${word}`)
    else lines[lines.length - 1] = `${last} ${word}`
  }
  return lines
}

function entriesOf(section: Readonly<Record<string, Setting<unknown>>>): readonly [string, Setting<unknown>][] {
  return Object.entries(section)
}
