import type { BrokerEvent, Events } from '../ports/events.ts'
import type { GatewayEvent } from './line.ts'
import type { AuditEntry, AuditLog } from './log.ts'

/** What the gateway does to a grant by itself; the rest is audited where somebody asked for it, or is no matter of security. */
const OUTCOMES: Readonly<Record<GatewayEvent, AuditEntry['outcome']>> = {
  'grant.renewed': 'ok',
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
      audit.record({ event: type, by: 'gateway', guid, version, outcome: OUTCOMES[type] })
    },
  }
}

function isAudited(event: BrokerEvent): event is Extract<BrokerEvent, { type: GatewayEvent }> {
  return event.type in OUTCOMES
}
