import type { BrokerEvent, Events } from '../ports/events.ts'
import type { GatewayEvent } from './line.ts'
import type { AuditEntry, AuditLog } from './log.ts'

/** What the gateway does to a grant by itself; the rest is audited where somebody asked for it, or is no matter of security. */
/** `null`: the code that the event has. */
const OUTCOMES: Readonly<Record<GatewayEvent, AuditEntry['outcome'] | null>> = {
  'grant.renewed': 'ok',
  'grant.needs_attention': null,
  'grant.ended': 'reauthorization_required',
  'grant.restored': 'ok',
  'grant.revoked': 'ok',
}

/** The broker's events as audit lines. */
export function auditedEvents(audit: AuditLog): Events {
  return {
    emit(event) {
      if (!isAudited(event)) return
      const { type, guid, version } = event
      const outcome = OUTCOMES[type] ?? ('code' in event ? event.code : 'ok')
      audit.record({ event: type, by: 'gateway', guid, version, outcome })
    },
  }
}

function isAudited(event: BrokerEvent): event is Extract<BrokerEvent, { type: GatewayEvent }> {
  return event.type in OUTCOMES
}
