/** Who waits for a provider request: somebody on the line, or nobody. */
export type Lane = 'reader' | 'background'

/** A bounded number of provider requests at once; readers are let through first. */
export interface Slots {
  run<T>(lane: Lane, task: () => Promise<T>): Promise<T>
  /** As `run`, under a name, so that a reader who comes later can move it ahead. */
  runNamed<T>(name: string, lane: Lane, task: () => Promise<T>): Promise<T>
  /** Moves a waiting task into the readers' lane; nothing happens where it runs already. */
  hurry(name: string): void
}
