const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']
const TIME = String.raw`(?<hour>\d{2}):(?<minute>\d{2}):(?<second>\d{2})`

/** The three forms of RFC 9110, section 5.6.7. The name of the day is not checked: it says nothing that the date does not. */
const FORMS = [
  // IMF-fixdate: Sun, 06 Nov 1994 08:49:37 GMT
  new RegExp(String.raw`^[A-Z][a-z]{2}, (?<day>\d{2}) (?<month>[A-Z][a-z]{2}) (?<year>\d{4}) ${TIME} GMT$`),
  // RFC 850: Sunday, 06-Nov-94 08:49:37 GMT
  new RegExp(String.raw`^[A-Z][a-z]{5,8}, (?<day>\d{2})-(?<month>[A-Z][a-z]{2})-(?<year>\d{2}) ${TIME} GMT$`),
  // asctime: Sun Nov  6 08:49:37 1994
  new RegExp(String.raw`^[A-Z][a-z]{2} (?<month>[A-Z][a-z]{2}) (?<day>[ \d]\d) ${TIME} (?<year>\d{4})$`),
]

/** Milliseconds since the epoch; null: not an HTTP date. */
export function httpDateMs(text: string | null): number | null {
  if (text === null) return null
  for (const form of FORMS) {
    const fields = form.exec(text)?.groups
    if (fields !== undefined) return timeMsOf(fields)
  }
  return null
}

function timeMsOf(fields: Readonly<Record<string, string>>): number | null {
  const month = MONTHS.indexOf(fields.month ?? '')
  const [day, hour, minute, second] = [fields.day, fields.hour, fields.minute, fields.second].map(Number)
  if (month < 0 || day === undefined || hour === undefined || minute === undefined || second === undefined) return null
  // 60 is a leap second.
  if (hour > 23 || minute > 59 || second > 60) return null
  const midnightMs = Date.UTC(yearOf(fields.year ?? ''), month, day)
  // The 31st of a shorter month would become a day of the next one.
  if (new Date(midnightMs).getUTCDate() !== day) return null
  return midnightMs + ((hour * 60 + minute) * 60 + second) * 1000
}

/** Two digits are of this century, unless that lies more than 50 years ahead; 2070 is far enough for a fixed border. */
function yearOf(digits: string): number {
  const year = Number(digits)
  if (digits.length === 4) return year
  return year < 70 ? 2000 + year : 1900 + year
}
