/** Looks again and again, for as long as somebody sees the page; the first time when the time has gone by once. */

/**
 * @param {number} everyMs
 * @param {() => Promise<number | null>} look tells how many milliseconds nobody may look again; null: as usual. Never rejects
 */
export function startPolling(everyMs, look) {
  let notBeforeMs = 0
  let nextAtMs = Date.now() + everyMs
  let isLooking = false
  let isStopped = false
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer

  async function run() {
    if (isStopped || isLooking || Date.now() < notBeforeMs) return
    isLooking = true
    clearTimeout(timer)
    const waitMs = await look()
    isLooking = false
    notBeforeMs = Date.now() + (waitMs ?? 0)
    nextAtMs = Date.now() + Math.max(everyMs, waitMs ?? 0)
    plan()
  }

  function plan() {
    clearTimeout(timer)
    if (!isStopped && !document.hidden) timer = setTimeout(run, Math.max(0, nextAtMs - Date.now()))
  }

  document.addEventListener('visibilitychange', plan)
  plan()
  return {
    /** Now, unless somebody is at it, or has to wait. */
    look: run,
    stop() {
      isStopped = true
      clearTimeout(timer)
      document.removeEventListener('visibilitychange', plan)
    },
  }
}

/** @typedef {ReturnType<typeof startPolling>} Polling */
