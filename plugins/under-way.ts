/** How many requests of one caller may be under way at once, in this replica: one that hangs, or loops, leaves room for others. */
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { Problem } from '../src/errors.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Called when the answer is ready; null: it was not counted. */
    answerIsReady: (() => void) | null
  }
}

export default fp(
  async (app: FastifyInstance, { maxPerCaller }: { maxPerCaller: number }) => {
    const underWay = new Map<string, number>()

    function leave(caller: string): void {
      const others = (underWay.get(caller) ?? 1) - 1
      if (others === 0) underWay.delete(caller)
      else underWay.set(caller, others)
    }

    app.decorateRequest('answerIsReady', null)
    app.addHook('onRequest', (request, reply, done) => {
      if (request.caller === null) return done()
      const { name } = request.caller
      const others = underWay.get(name) ?? 0
      if (others >= maxPerCaller) {
        const detail = `The caller ${name} has ${others} requests under way at this replica, which is as many as it may have.`
        throw new Problem('rate_limited', detail, { retryAfterSeconds: 1 })
      }
      underWay.set(name, others + 1)
      // Whoever hangs up does not end the work; and an answer that nobody fetches still takes its room.
      let isAnswered = false
      let isClosed = false
      request.answerIsReady = () => {
        if (isClosed && !isAnswered) leave(name)
        isAnswered = true
      }
      reply.raw.once('close', () => {
        if (isAnswered && !isClosed) leave(name)
        isClosed = true
      })
      done()
    })
    app.addHook('onSend', (request, _reply, payload, done) => {
      request.answerIsReady?.()
      done(null, payload)
    })
  },
  { name: 'under-way', dependencies: ['auth'] },
)
