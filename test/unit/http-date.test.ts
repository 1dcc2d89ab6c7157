import t from 'tap'
import { httpDateMs } from '../../src/provider/http-date.ts'

t.test('the three forms of an HTTP date', async t => {
  const timeMs = Date.UTC(1994, 10, 6, 8, 49, 37)
  for (const text of ['Sun, 06 Nov 1994 08:49:37 GMT', 'Sunday, 06-Nov-94 08:49:37 GMT', 'Sun Nov  6 08:49:37 1994']) {
    t.equal(httpDateMs(text), timeMs, text)
  }
  t.equal(httpDateMs('Sun Nov 16 08:49:37 1994'), Date.UTC(1994, 10, 16, 8, 49, 37))
  t.equal(httpDateMs('Saturday, 28-Nov-26 00:00:00 GMT'), Date.UTC(2026, 10, 28), 'this century')
  t.equal(httpDateMs('Thu, 29 Feb 2024 23:59:60 GMT'), Date.UTC(2024, 2, 1), 'a leap second')
})

t.test('what is no HTTP date', async t => {
  const texts = [
    null,
    '',
    'tomorrow',
    '120',
    '2026-10-21T07:28:00Z',
    'Wed, 99 Oct 2026 07:28:00 GMT',
    'Wed, 00 Oct 2026 07:28:00 GMT',
    'Thu, 30 Feb 2024 00:00:00 GMT',
    'Wed, 21 Okt 2026 07:28:00 GMT',
    'Wed, 21 Oct 2026 24:00:00 GMT',
    'Wed, 21 Oct 2026 07:60:00 GMT',
    'Wed, 21 Oct 2026 07:28:61 GMT',
    'Wed, 21 Oct 2026 07:28:00 CET',
    'Wed, 21 Oct 2026 07:28:00',
    ' Wed, 21 Oct 2026 07:28:00 GMT',
    'Wed Oct 21 07:28:00 2026 GMT',
  ]
  for (const text of texts) t.equal(httpDateMs(text), null, `${text}`)
})
