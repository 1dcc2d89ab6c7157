/** The browser that tests look at pages with. */
import { type Browser, chromium } from 'playwright-core'
import type { Test } from 'tap'

const FLAGS =
  '--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync'

/** Closed with the test. */
export async function launchBrowser(t: Test): Promise<Browser> {
  const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', headless: true, args: FLAGS.split(' ') })
  t.teardown(() => browser.close())
  return browser
}
