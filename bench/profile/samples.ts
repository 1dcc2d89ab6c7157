/** A CPU profile as Node writes it (`--cpu-prof`), added up. */

export interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number }
    readonly children?: readonly number[]
  }[]
  /** Microseconds of the machine's monotonic clock, as `process.hrtime` counts them. */
  readonly startTime: number
  readonly samples: readonly number[]
  /** Microseconds since the sample before. */
  readonly timeDeltas: readonly number[]
}

export interface Share {
  /** The function, its file and line. */
  readonly name: string
  /** Of the time in which the process was at work, in percent: in itself, and with all that it calls. */
  readonly self: number
  readonly total: number
}

const AT_REST = new Set(['(idle)', '(root)'])

/** Between two moments of the monotonic clock, in microseconds. Largest self time first. */
export function shares(profile: CpuProfile, fromMicros: number, untilMicros: number): readonly Share[] {
  const nodes = new Map(profile.nodes.map(node => [node.id, node]))
  const parents = new Map(profile.nodes.flatMap(({ id, children = [] }) => children.map(child => [child, id] as const)))
  const self = new Map<string, number>()
  const total = new Map<string, number>()
  let atWork = 0
  let nowMicros = profile.startTime
  for (const [index, sample] of profile.samples.entries()) {
    const took = profile.timeDeltas[index] ?? 0
    nowMicros += took
    const name = nameOf(nodes.get(sample)?.callFrame)
    if (nowMicros < fromMicros || nowMicros > untilMicros || AT_REST.has(name)) continue
    atWork += took
    add(self, name, took)
    const seen = new Set<string>()
    for (let id: number | undefined = sample; id !== undefined; id = parents.get(id)) {
      const caller = nameOf(nodes.get(id)?.callFrame)
      if (!seen.has(caller)) add(total, caller, took)
      seen.add(caller)
    }
  }
  const percent = (micros = 0) => (100 * micros) / atWork
  return [...total]
    .map(([name, micros]) => ({ name, self: percent(self.get(name)), total: percent(micros) }))
    .sort((first, second) => second.self - first.self)
}

function add(sums: Map<string, number>, name: string, micros: number): void {
  sums.set(name, (sums.get(name) ?? 0) + micros)
}

type CallFrame = CpuProfile['nodes'][number]['callFrame']

function nameOf(
  { functionName, lineNumber, url }: CallFrame = { functionName: '(root)', url: '', lineNumber: 0 },
): string {
  if (url === '') return functionName
  const file = url.replace(/^.*\/(node_modules|dist)\//, '')
  return `${functionName || '(anonymous)'} ${file}:${lineNumber + 1}`
}
