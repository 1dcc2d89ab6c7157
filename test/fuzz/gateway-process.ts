/** A gateway as `serve` runs it, which also tells its parent how much of the machine it holds. */
import { Writable } from 'node:stream'
import { readConfig } from '../../src/config.ts'
import { createServedGateway } from '../../src/gateway.ts'

/** What is worse than a warning is for the counterexample. */
const ERROR = /"level":"(error|fatal)"/

const logTo = new Writable({
  write(chunk, _encoding, done) {
    const line = String(chunk)
    if (ERROR.test(line)) process.send?.({ error: line })
    done()
  },
})

const gateway = await createServedGateway(readConfig(), logTo)
const url = await gateway.listen()

process.on('message', async question => {
  if (question === 'close') {
    await gateway.close()
    process.disconnect()
    return
  }
  for (let times = 0; times < 3; times += 1) globalThis.gc?.()
  process.send?.({ heapBytes: process.memoryUsage().heapUsed, handles: process.getActiveResourcesInfo().length })
})
process.send?.({ main: url, ...gateway.doors() })
