import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { globSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { dump, loadAll } from 'js-yaml';

/** Namespace that the plain manifest installs the operator in. */
const installNamespace = 'herdsman-system';

interface Manifest {
  readonly metadata: {
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
  };
  readonly spec?: { readonly template?: Manifest };
}

/** A hash of all files of the chart: it tells whether the manifest is older than the chart, also where Helm is not there. */
function chartHash(chart: string): string {
  const hash = createHash('sha256');
  for (const file of globSync('**/*', { cwd: chart, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .toSorted()) {
    hash.update(file.slice(chart.length)).update('\0').update(readFileSync(file)).update('\0');
  }
  return hash.digest('hex').slice(0, 16);
}

function firstLine(chart: string): string {
  return `# Made by \`npm run generate\` from helm/herdsman (${chartHash(chart)}); change it there.`;
}

/** Whether a manifest was made from the chart as it is now. */
export function isManifestCurrent(manifest: string | undefined, chart: string): boolean {
  return manifest?.split('\n', 1)[0] === firstLine(chart);
}

/** What only Helm needs is left out. */
function withoutHelm(object: Manifest): Manifest {
  const { labels, annotations } = object.metadata;
  delete labels?.['app.kubernetes.io/managed-by'];
  delete labels?.['helm.sh/chart'];
  delete annotations?.['helm.sh/resource-policy'];
  if (annotations !== undefined && Object.keys(annotations).length === 0) delete object.metadata.annotations;
  if (object.spec?.template !== undefined) withoutHelm(object.spec.template);
  return object;
}

/** The chart with its default values as one plain manifest, with the namespace to install it in. Needs `helm` on the path. */
export function renderManifest(chart: string): string {
  const cache = process.env.HERDSMAN_CACHE ?? '/var/cache/herdsman';
  const rendered = execFileSync(
    'helm',
    ['template', 'herdsman', chart, '--namespace', installNamespace, '--kube-version', '1.34.0'],
    {
      encoding: 'utf8',
      env: { ...process.env, PATH: [process.env.PATH ?? '', join(cache, 'bin')].join(delimiter) },
      maxBuffer: 16 * 1024 * 1024,
    },
  );
  const namespace = {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: {
      name: installNamespace,
      labels: { 'pod-security.kubernetes.io/enforce': 'restricted' },
    },
  };
  const objects = loadAll(rendered).filter((object) => object !== null) as Manifest[];
  const documents = [namespace, ...objects.map(withoutHelm)];
  const texts = documents.map((document) => dump(document, { lineWidth: 120, noRefs: true }));
  return `${firstLine(chart)}\n${texts.join('---\n')}`;
}
