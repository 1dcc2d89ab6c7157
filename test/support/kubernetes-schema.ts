/** Manifests, held against Kubernetes' own API types: a field that there is not is one that a literal must not have. */
import { join } from 'node:path'
import ts from 'typescript'
import type { Data } from './deploy.ts'

/** Where the types of what we use are, by `apiVersion kind`. */
const MODULES: Readonly<Record<string, string>> = {
  'v1 Namespace': 'core/v1',
  'v1 ConfigMap': 'core/v1',
  'v1 Secret': 'core/v1',
  'v1 Service': 'core/v1',
  'v1 ServiceAccount': 'core/v1',
  'apps/v1 Deployment': 'apps/v1',
  'policy/v1 PodDisruptionBudget': 'policy/v1',
  'autoscaling/v2 HorizontalPodAutoscaler': 'autoscaling/v2',
  'networking.k8s.io/v1 NetworkPolicy': 'networking/v1',
}

const OPTIONS: ts.CompilerOptions = {
  strict: true,
  noEmit: true,
  skipLibCheck: true,
  types: [],
  lib: ['lib.es2023.d.ts'],
  target: ts.ScriptTarget.ES2023,
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
}

/** What is wrong with each of them, in their order; '': a server would take it, as far as fields and their types go. */
export function misfitsOf(manifests: readonly Data[]): readonly string[] {
  const file = join(import.meta.dirname, 'manifests.ts')
  const lines = manifests.map(literalOf)
  const host = ts.createCompilerHost(OPTIONS)
  const { fileExists, getSourceFile } = host
  host.fileExists = name => name === file || fileExists(name)
  host.getSourceFile = (name, ...more) =>
    name === file ? ts.createSourceFile(name, lines.join('\n'), ts.ScriptTarget.ES2023) : getSourceFile(name, ...more)
  const found = ts.getPreEmitDiagnostics(ts.createProgram([file], OPTIONS, host))
  const elsewhere = found.filter(({ file: source }) => source?.fileName !== file).map(textOf)
  if (elsewhere.length > 0) throw new Error(elsewhere.join('\n'))
  return lines.map((_, line) => {
    const here = found.filter(
      ({ file: source, start = 0 }) => source?.getLineAndCharacterOfPosition(start).line === line,
    )
    return here.map(textOf).join(' ')
  })
}

function textOf({ messageText }: ts.Diagnostic): string {
  return ts.flattenDiagnosticMessageText(messageText, ' ')
}

/** One line. */
function literalOf(manifest: Data, index: number): string {
  const name = `${manifest.apiVersion} ${manifest.kind}`
  const module = MODULES[name]
  if (module === undefined) return `const manifest${index}: never = ${JSON.stringify(name)}`
  return `const manifest${index}: import('kubernetes-types/${module}').${manifest.kind} = ${JSON.stringify(manifest)}`
}
