/** A few plans with the records on a real Redis; `npm run test:long` runs more of them. */
import t from 'tap'
import { checkOnRedis } from './on-redis.ts'

/** Everything at once, one kind of fault, and nothing at all. */
t.test('what holds in memory holds on a real Redis', t => checkOnRedis(t, [103, 106, 112]))
