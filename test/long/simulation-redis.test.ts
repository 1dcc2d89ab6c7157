/** Plans of the simulation of every style, with the records on a real Redis. */
import t from 'tap'
import { checkOnRedis } from '../simulation/on-redis.ts'

const SEEDS = Array.from({ length: 24 }, (_, index) => index + 101)

t.test('what holds in memory holds on a real Redis', t => checkOnRedis(t, SEEDS))
