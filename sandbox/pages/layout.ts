import { createHash } from 'node:crypto'
import type { FastifyReply } from 'fastify'
import { Html, html } from './html.ts'

const STYLE = `
:root {
  color-scheme: light dark;
  --page: #eef2f6; --card: #fff; --text: #16212c; --muted: #51606f; --line: #8494a5;
  --accent: #0b6bb8; --on-accent: #fff; --alert: #b3261e; --note: #fdf3d3; --on-note: #4a3a00;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #10161c; --card: #1b242d; --text: #e8eef4; --muted: #a9b7c5; --line: #75879a;
    --accent: #7cc0fb; --on-accent: #06243d; --alert: #ffb4ab; --note: #3b3214; --on-note: #f6e3a1;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; min-height: 100vh; padding: 1rem; display: grid; align-content: center; justify-items: center; gap: 1rem;
  background: var(--page); color: var(--text); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere;
}
main {
  width: 100%; max-width: 27rem; padding: 2rem 1.5rem; border-radius: 1rem; background: var(--card);
  box-shadow: 0 .25rem 1.5rem rgb(0 0 0 / .14);
}
h1 { margin: 0 0 1rem; font-size: 1.35rem; line-height: 1.3; text-wrap: balance; }
p { margin: 0 0 1rem; }
.avatar { display: block; margin: 0 auto 1rem; border-radius: 1.1rem; }
.consent h1 { text-align: center; }
ul { margin: 0 0 1.5rem; padding: 0; list-style: none; }
li { display: flex; gap: .65rem; padding: .45rem 0; }
li svg { flex: none; margin-top: .2rem; color: var(--accent); }
label { display: block; font-weight: 600; }
.hint, .destination { color: var(--muted); font-size: .875rem; }
.alert { color: var(--alert); font-weight: 600; }
input {
  width: 100%; min-height: 2.75rem; margin: .25rem 0; padding: .5rem .75rem; border: 1px solid var(--line);
  border-radius: .5rem; background: transparent; color: inherit; font: inherit;
}
.buttons { display: grid; grid-template-columns: 1fr 1fr; gap: .75rem; margin: 1.25rem 0; }
button {
  min-height: 2.75rem; padding: .5rem 1rem; border: 1px solid var(--accent); border-radius: .5rem; cursor: pointer;
  background: transparent; color: var(--accent); font: inherit; font-weight: 600;
}
button.allow { background: var(--accent); color: var(--on-accent); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.destination { margin: 0; text-align: center; }
header {
  max-width: 27rem; padding: .4rem .9rem; border-radius: .5rem; font-size: .875rem;
  background: var(--note); color: var(--on-note);
}
`

// The hash lets this one style sheet in and no other; scripts, frames and foreign resources have no way in at all.
const STYLE_SOURCE = `'sha256-${createHash('sha256').update(STYLE).digest('base64')}'`

export function layout(title: string, main: Html): Html {
  return html`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
<link rel="icon" href="data:,">
<style>${new Html(STYLE)}</style>
</head>
<body>
<header>HealthTap sandbox – a stand-in, no real accounts</header>
${main}
</body>
</html>
`
}

/** `formTargets`: CSP sources that the page's form may lead to, besides the sandbox itself. */
export function sendPage(
  reply: FastifyReply,
  status: number,
  page: Html,
  formTargets: readonly string[] = [],
): FastifyReply {
  const policy = [
    "default-src 'none'",
    `style-src ${STYLE_SOURCE}`,
    'img-src data:',
    "base-uri 'none'",
    "frame-ancestors 'none'",
    `form-action ${["'self'", ...formTargets].join(' ')}`,
  ]
  return reply
    .code(status)
    .headers({
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy': policy.join('; '),
      'referrer-policy': 'no-referrer',
      'x-content-type-options': 'nosniff',
      'cache-control': 'no-store',
    })
    .send(page.markup)
}
