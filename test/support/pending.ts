/** A promise, and the way to keep it. */
export function pending<T = unknown>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => {}
  const promise = new Promise<T>(kept => {
    resolve = kept
  })
  return { promise, resolve }
}
