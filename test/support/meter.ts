import type { Meter } from '../../src/ports/meter.ts'

export const silentMeter: Meter = { served() {}, refreshed() {} }
