/** Whether the gateway holds on to more and more. */
import type { Figures } from './world.ts'

/** Generous: what grows with the cases grows fivefold between the two. */
const HEAP_FACTOR = 2
const HEAP_BYTES_BESIDE = 16 * 1024 * 1024
const HANDLES_BESIDE = 50

/** `figures`: at a fifth of the way, and at its end. null: it does not, or there was too little to tell by. */
export function growth([early, late]: readonly Figures[], seed: number): { seed: number; text: string } | null {
  if (early === undefined || late === undefined) return null
  const heap = `the heap grew from ${early.heapBytes} to ${late.heapBytes} bytes`
  if (late.heapBytes > HEAP_FACTOR * early.heapBytes + HEAP_BYTES_BESIDE) return { seed, text: heap }
  const handles = `open handles grew from ${early.handles} to ${late.handles}`
  return late.handles > early.handles + HANDLES_BESIDE ? { seed, text: handles } : null
}
