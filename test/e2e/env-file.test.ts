/** `.env`: read in development, never in production, and never against the environment. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { program } from '../support/program.ts'

const run = promisify(execFile)

/** What the command says in a folder with this `.env`; every case here ends by a setting that is wrong. */
async function said(t: Test, envFile: string, command: string, environment: Record<string, string> = {}) {
  const cwd = t.testdir({ '.env': envFile })
  const variables = Object.entries(environment).map(([name, value]) => `${name}=${value}`)
  const args = ['-i', `PATH=${process.env.PATH}`, ...variables, ...program(), command]
  const ended = run('env', args, { cwd }).then(
    () => ({ code: 0, stderr: '' }),
    ({ code, stderr }) => ({ code, stderr }),
  )
  const { code, stderr } = await ended
  t.equal(code, 1)
  return stderr
}

t.test('serve has settings from it, unless it runs in production', async t => {
  const file = 'HEALTHTAP_APP_ID=app\nHEALTHTAP_APP_SECRET="a secret"\nPORT=nonsense\n'
  const inDevelopment = await said(t, file, 'serve')
  t.match(inDevelopment, /PORT has to be/)
  t.notMatch(inDevelopment, /HEALTHTAP_APP_(ID|SECRET) is missing/)
  t.match(inDevelopment, /REDIS_URL is missing/)
  const inProduction = await said(t, file, 'serve', { NODE_ENV: 'production' })
  t.match(inProduction, /HEALTHTAP_APP_ID is missing/)
  t.notMatch(inProduction, /PORT/)
})

t.test('what the environment says counts', async t => {
  t.notMatch(await said(t, 'PORT=nonsense\n', 'serve', { PORT: '3000' }), /PORT/)
})

t.test('dev heeds how the gateway is to behave, and nothing that it stands on', async t => {
  const stderr = await said(t, 'LOG_LEVEL=loud\nREDIS_URL=nonsense\nPORT=nonsense\n', 'dev')
  t.match(stderr, /LOG_LEVEL/)
  t.notMatch(stderr, /REDIS_URL|PORT/)
})
