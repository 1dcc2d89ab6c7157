import type { FastifyInstance } from 'fastify'
import type { PairBook } from '../control/pair-book.ts'

/** Every request that reached the provider, and every pair that it issued. No token can be read from it. */
export function pairRoutes(app: FastifyInstance, book: PairBook): void {
  app.get('/pairs', () => book.report())
}
