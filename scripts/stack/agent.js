// Runs inside the stack's network, and asks for whoever is outside: a line of JSON in is a request, a line out its answer.
import { createInterface } from 'node:readline'

const DEADLINE_MS = 20_000

async function answer({ id, method, url, headers, body }) {
  try {
    const init = { method, headers, body, redirect: 'manual', signal: AbortSignal.timeout(DEADLINE_MS) }
    const response = await fetch(url, init)
    return { id, status: response.status, location: response.headers.get('location'), text: await response.text() }
  } catch (error) {
    return { id, status: 0, location: null, text: String(error.cause ?? error) }
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  answer(JSON.parse(line)).then(answered => process.stdout.write(`${JSON.stringify(answered)}\n`))
}
