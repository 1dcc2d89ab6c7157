/** Content codings (RFC 9110, section 8.4.1). None is asked for; an answer that has one all the same may hold a new pair. */
import { brotliDecompressSync, gunzipSync, inflateRawSync, inflateSync } from 'node:zlib'

type Decode = (bytes: Buffer, options: { maxOutputLength: number }) => Buffer

/** `deflate` is the zlib format; some servers send the bare one. */
const DECODERS: Readonly<Record<string, readonly Decode[]>> = {
  gzip: [gunzipSync],
  'x-gzip': [gunzipSync],
  deflate: [inflateSync, inflateRawSync],
  br: [brotliDecompressSync],
}

/** More in a row have no use, and each costs a pass. */
const MOST_CODINGS = 3

/**
 * The body with its codings undone, last one first; each pass is bounded by `mostBytes`. A coding that is unknown or does not fit
 * leaves the bytes as they are: a proxy may have decoded a body and left the header. Nothing that is really coded then reads as JSON.
 */
export function decoded(body: Buffer, contentEncoding: string, mostBytes: number): Buffer {
  const codings = contentEncoding.toLowerCase().split(',').slice(0, MOST_CODINGS)
  return codings.reverse().reduce((bytes, coding) => undone(bytes, coding.trim(), mostBytes), body)
}

function undone(bytes: Buffer, coding: string, mostBytes: number): Buffer {
  const decoders = Object.hasOwn(DECODERS, coding) ? (DECODERS[coding] ?? []) : []
  for (const decode of decoders) {
    try {
      return decode(bytes, { maxOutputLength: mostBytes })
    } catch {
      // Broken, another format, or more than `mostBytes`.
    }
  }
  return bytes
}
