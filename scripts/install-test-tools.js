// The tests run against a real redis-server and a real Chromium: installs what is missing where that is possible.
import { execFileSync, spawnSync } from 'node:child_process'

const TOOLS = [
  { command: 'redis-server', package: 'redis-server' },
  { command: 'chromium', package: 'chromium' },
  { command: 'curl', package: 'curl' },
  { command: 'openssl', package: 'openssl' },
  // Those that a script needs besides.
  ...process.argv.slice(2).map(name => ({ command: name, package: name })),
]

const missing = TOOLS.filter(tool => spawnSync(tool.command, ['--version'], { stdio: 'ignore' }).error)
if (missing.length > 0) {
  const packages = missing.map(tool => tool.package)
  const isDebian = !spawnSync('apt-get', ['--version'], { stdio: 'ignore' }).error
  if (!isDebian || process.getuid?.() !== 0) {
    process.stderr.write(
      `The tests need ${packages.join(' and ')}. Debian, Ubuntu: sudo apt-get install ${packages.join(' ')}\n`,
    )
    process.exit(1)
  }
  process.stderr.write(`Installing ${packages.join(', ')} for the tests …\n`)
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' }
  const options = { stdio: ['ignore', 'ignore', 'inherit'], env }
  execFileSync('apt-get', ['update', '-qq'], options)
  execFileSync('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...packages], options)
}
