/**
 * Where time goes. A span that is begun while another runs is a part of it, across awaits; one that is begun while none runs
 * begins a trace. Costs next to nothing where nothing is traced, and never throws.
 */

/** Named as OpenTelemetry's conventions have it, ours with `htgw.` before. Never a token, code, state, password, key or query. */
export type Facts = Readonly<Record<string, string | number | boolean>>

export interface Span {
  /** Does `work` in it, and ends with it; where `work` throws, it has failed. To be called once. */
  run<T>(work: () => Promise<T>): Promise<T>
  tell(facts: Facts): void
  /** `type`: what kept it from succeeding, as one of a few words. */
  fail(type: string): void
}

export interface Tracing {
  /** `waitsFor`: the span of somebody else's work, which this one waits for; it may be part of another trace. */
  begin(name: string, facts: Facts, waitsFor?: Span): Span
  /** As `begin`, for a request to another service. */
  ask(name: string, facts: Facts): Span
  /** Headers by which another service goes on in what runs here (W3C Trace Context); none where nothing does. */
  headers(): Readonly<Record<string, string>>
  /** Adds to what runs here. */
  tell(facts: Facts): void
  /** Whether something runs here that is kept. */
  isKept(): boolean
}

const noSpan: Span = { run: work => work(), tell() {}, fail() {} }

export const noTracing: Tracing = {
  begin: () => noSpan,
  ask: () => noSpan,
  headers: () => ({}),
  tell() {},
  isKept: () => false,
}
