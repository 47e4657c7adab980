// Checks dashboards/*.json against Grafana's own types: each becomes a constant of type Dashboard, which the compiler compares.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';

const here = new URL('.', import.meta.url).pathname;
const dashboards = `${here}../../dashboards/`;
rmSync(`${here}build`, { recursive: true, force: true });
mkdirSync(`${here}build`);
const names = readdirSync(dashboards).filter((name) => name.endsWith('.json'));
for (const name of names) {
  const json = JSON.stringify(JSON.parse(readFileSync(dashboards + name, 'utf8')), null, 1);
  const text = `import type { Dashboard } from '../dashboard.js';\nexport const dashboard: Dashboard = ${json};\n`;
  writeFileSync(`${here}build/${name.replace('.json', '.ts')}`, text);
}
const compiler = `${here}node_modules/typescript/bin/tsc`;
const { status } = spawnSync(process.execPath, [compiler, '--project', here], { stdio: 'inherit' });
console.log(`${names.length} dashboards ${status === 0 ? 'are' : 'are NOT all'} as Grafana's schema wants them`);
process.exit(status ?? 1);
