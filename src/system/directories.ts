import { open } from 'node:fs/promises'

/** After a file was made, renamed or removed in it: until then a crash of the machine may forget that. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
