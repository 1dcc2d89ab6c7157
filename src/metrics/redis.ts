import { Counter, Histogram, type Registry } from 'prom-client'
import type { OnCommand } from '../store/redis/commands.ts'
import { SHORT_SECONDS } from './buckets.ts'

export function redisMetrics(registers: Registry[]): OnCommand {
  const duration = new Histogram({
    name: 'htgw_redis_command_duration_seconds',
    help: 'How long Redis commands took, waiting for a connection included, also those that failed. Scripts by their names.',
    labelNames: ['command'],
    buckets: SHORT_SECONDS,
    registers,
  })
  const errors = new Counter({
    name: 'htgw_redis_command_errors_total',
    help: 'Redis commands that failed. reason "connection": there was no answer; else the first word of the refusal.',
    labelNames: ['command', 'reason'],
    registers,
  })

  return (command, seconds, refusal) => {
    duration.observe({ command }, seconds)
    if (refusal !== null) errors.inc({ command, reason: refusal })
  }
}
