/** A process that asks a provider through the real adapter when its parent tells it to, and tells it the outcome. */
import { type AskedOperation, adapterFor, askFor } from './adapter.ts'

export interface Question {
  readonly operation: AskedOperation
  readonly url: string
  readonly timeoutMs: number
}

/** `blockMs`: keeps the event loop from running for so long. */
export type Command = Question | { readonly blockMs: number }

process.on('message', async (command: Command) => {
  if ('blockMs' in command) {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, command.blockMs)
    return
  }
  process.send?.(await ask(command))
})
process.send?.('ready')

async function ask({ operation, url, timeoutMs }: Question) {
  const provider = adapterFor(url, { timeoutMs, connections: 8 })
  const outcome = await askFor(provider, operation)
  void provider.close()
  return { operation, kind: outcome.kind, reason: 'reason' in outcome ? outcome.reason : undefined }
}
