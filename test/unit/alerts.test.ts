/** Alert rules and the dashboard: they name only what a gateway tells, and each alarm says what to do. */
import { readdirSync, readFileSync } from 'node:fs'
import t from 'tap'
import { parse } from 'yaml'
import { startApp } from '../support/app.ts'
import { parseMetrics } from '../support/metrics.ts'
import { metricsTable, runbooks, wrongIn } from '../support/metrics-table.ts'

interface Rule {
  readonly alert: string
  readonly expr: string
  readonly labels: { readonly severity: string }
  readonly annotations: Readonly<Record<string, string>>
}

const { send } = await startApp(t)
const exposed = parseMetrics((await send('GET', '/metrics')).body).types
const read = (path: string) => readFileSync(`deploy/${path}`, 'utf8')
const alerts: { groups: { name: string; rules: Rule[] }[] } = parse(read('prometheus/alerts.yml'))
const rules = alerts.groups.flatMap(group => group.rules)

t.test('each rule asks for what there is, and says how bad it is and what to do', async t => {
  for (const { alert, expr, labels, annotations } of rules) {
    t.strictSame(wrongIn(expr, exposed), [], alert)
    t.match(labels, { severity: /^(critical|warning)$/ }, alert)
    t.match(annotations, { summary: /./, description: /./ }, alert)
    t.equal(annotations.runbook_url, `docs/metrics.md#${alert.toLowerCase()}`)
  }
  t.equal(new Set(alerts.groups.map(({ name }) => name)).size, alerts.groups.length)
})

t.test('each alarm stands in the page, with what to do, and beside what it watches', async t => {
  const names = rules.map(({ alert }) => alert).sort()
  t.strictSame(runbooks().toSorted(), names)
  for (const [name, { alarms }] of metricsTable()) {
    const watching = rules.filter(({ expr }) => new RegExp(`\\b${name}(_count|_bucket)?\\b`).test(expr))
    t.strictSame(watching.map(({ alert }) => alert).sort(), [...alarms].sort(), name)
  }
})

t.test('the rules are tried by promtool, each of them', async t => {
  const tried = read('prometheus/alerts.test.yml')
  t.match(parse(tried), { rule_files: ['alerts.yml'] })
  for (const { alert } of rules) t.ok(new RegExp(`\\b${alert}\\b`).test(tried), alert)
})

t.test('what is wrong with an expression is seen', async t => {
  for (const [expression, wrong] of [
    ['htgw_grants{status="active"} > 0', []],
    ['htgw_tokens > 0', ['no metric htgw_tokens']],
    ['rate(htgw_refresh_lag_seconds[5m])', ['no metric htgw_refresh_lag_seconds']],
    ['htgw_grants_count', ['no metric htgw_grants_count']],
    ['htgw_grants{state="active"}', ['htgw_grants has no label state']],
    ['htgw_grants{status="lost"}', ['status is never lost']],
    ['sum by (status) (htgw_grants_due)', ['nothing there has a label status']],
    ['up == 0', ['no metric of ours']],
  ] as const) {
    t.strictSame(wrongIn(expression, exposed), wrong, expression)
  }
})

interface Panel {
  readonly id: number
  readonly type: string
  readonly title: string
  readonly description?: string
  readonly datasource?: { readonly uid: string }
  readonly gridPos: { readonly h: number; readonly w: number; readonly x: number; readonly y: number }
  readonly targets?: readonly { readonly expr: string; readonly refId: string; readonly datasource: { uid: string } }[]
}

const dashboard = JSON.parse(read('grafana/dashboards/healthtap-gateway.json'))
const panels: readonly Panel[] = dashboard.panels

t.test('the dashboard asks for what there is, of the gateways that were chosen', async t => {
  const asked = new Set<string>()
  for (const { title, targets = [], type } of panels) {
    t.equal(targets.length > 0, type !== 'row', title)
    t.equal(new Set(targets.map(({ refId }) => refId)).size, targets.length, title)
    for (const { expr } of targets) {
      t.strictSame(wrongIn(expr.replaceAll('$__rate_interval', '5m'), exposed), [], `${title}: ${expr}`)
      for (const [, name = '', selector = ''] of expr.matchAll(/\b((?:htgw|nodejs|process)_\w+)(\{[^}]*\})?/g)) {
        t.match(selector, 'instance=~"$instance"', `${title}: ${name}`)
        asked.add(name.replace(/_(bucket|count)$/, ''))
      }
    }
  }
  const unseen = [...metricsTable().keys()].filter(name => !asked.has(name))
  t.strictSame(unseen, [], 'all that is told can be looked at')
})

/** The variable, and no data source of somebody's own. */
const CHOSEN = /^\$\{datasource\}$/

t.test('the dashboard is whole: ids, places, the data source that is chosen', async t => {
  t.equal(new Set(panels.map(({ id }) => id)).size, panels.length)
  for (const { title, type, datasource, targets = [] } of panels) {
    if (type !== 'row') t.match(datasource?.uid, CHOSEN, title)
    for (const target of targets) t.match(target.datasource.uid, CHOSEN, title)
  }
  for (const [index, { title, gridPos: a }] of panels.entries()) {
    t.ok(a.x >= 0 && a.w > 0 && a.h > 0 && a.x + a.w <= 24, title)
    for (const { title: other, gridPos: b } of panels.slice(index + 1)) {
      const isBeside = a.x + a.w <= b.x || b.x + b.w <= a.x || a.y + a.h <= b.y || b.y + b.h <= a.y
      t.ok(isBeside, `${title} and ${other}`)
    }
  }
  const variables = new Map(dashboard.templating.list.map((one: { name: string }) => [one.name, one]))
  t.match(variables.get('datasource'), { type: 'datasource', query: 'prometheus' })
  t.match(variables.get('instance'), { type: 'query', datasource: { uid: CHOSEN }, multi: true })
  t.strictSame(wrongIn((variables.get('instance') as { definition: string }).definition, exposed), [])
})

t.test('Grafana finds the dashboard and Prometheus by itself', async t => {
  for (const kind of ['datasources', 'dashboards']) {
    const files = readdirSync(`deploy/grafana/provisioning/${kind}`)
    t.ok(files.length > 0)
    for (const file of files) t.match(parse(read(`grafana/provisioning/${kind}/${file}`)), { apiVersion: 1 })
  }
  const { datasources } = parse(read('grafana/provisioning/datasources/prometheus.yml'))
  t.match(datasources, [{ type: 'prometheus', url: 'http://prometheus:9090', isDefault: true }])
  const { providers } = parse(read('grafana/provisioning/dashboards/healthtap-gateway.yml'))
  t.match(providers, [{ type: 'file', options: { path: '/var/lib/grafana/dashboards' } }])
})
