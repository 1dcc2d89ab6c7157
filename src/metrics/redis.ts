import { Counter, Histogram, type Registry } from 'prom-client'
import type { OnCommand } from '../store/redis/scripts.ts'
import { SHORT_SECONDS } from './buckets.ts'

export function redisMetrics(registers: Registry[]): OnCommand {
  const duration = new Histogram({
    name: 'htgw_redis_command_duration_seconds',
    help: 'How long Redis took for a command, or a script by its name, waits for a connection included; also where it failed.',
    labelNames: ['command'],
    buckets: SHORT_SECONDS,
    registers,
  })
  const errors = new Counter({
    name: 'htgw_redis_command_errors_total',
    help: 'Redis commands that failed: no connection, no answer by the deadline, or the first word of the refusal.',
    labelNames: ['command', 'reason'],
    registers,
  })

  return (command, seconds, refusal) => {
    duration.observe({ command }, seconds)
    if (refusal !== null) errors.inc({ command, reason: refusal })
  }
}
