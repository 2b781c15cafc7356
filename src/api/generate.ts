import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { dump } from 'js-yaml';
import { customResourceDefinition } from './crd.ts';
import { type Kind, kinds } from './kinds.ts';
import { isManifestCurrent, renderManifest } from './manifest.ts';
import { group } from './v1alpha1/common.ts';

const root = join(import.meta.dirname, '../..');
const header = '# Made by `npm run generate` from src/api; change it there.\n';

function yaml(value: unknown): string {
  return dump(value, { lineWidth: 120, noRefs: true });
}

/** The CRD as a Helm template: Helm never upgrades what is in a chart's crds folder, so it is a template. */
function chartTemplate(kind: Kind): string {
  const definition = customResourceDefinition(kind);
  const kept = {
    ...definition,
    metadata: { ...definition.metadata, annotations: { 'helm.sh/resource-policy': 'keep' } },
  };
  const text = yaml(kept);
  if (text.includes('{{')) throw new Error(`${kind.kind}: Helm would read "{{" as a template`);
  return `{{- if .Values.crds.install }}\n${header}${text}{{- end }}\n`;
}

/** Every generated file, by its path from the top of the repository. */
function generatedFiles(): ReadonlyMap<string, string> {
  const files = new Map<string, string>();
  for (const kind of kinds) {
    const file = `${group}_${kind.plural}.yaml`;
    files.set(`crds/${file}`, header + yaml(customResourceDefinition(kind)));
    files.set(`helm/herdsman/templates/crds/${file}`, chartTemplate(kind));
  }
  return files;
}

function write(name: string, text: string): void {
  const path = join(root, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  console.log(`wrote ${name}`);
}

function read(name: string): string | undefined {
  const path = join(root, name);
  return existsSync(path) ? readFileSync(path, 'utf8') : undefined;
}

function isStale(name: string): void {
  console.error(`${name} is not what its source says: run "npm run generate"`);
  process.exitCode = 1;
}

function main(check: boolean): void {
  const put = check ? isStale : write;
  for (const [name, text] of generatedFiles()) {
    if (read(name) !== text) put(name, text);
  }
  // The manifest comes after the chart's own CRDs, which are part of it.
  const chart = join(root, 'helm/herdsman');
  const manifest = 'deploy/manifests/herdsman.yaml';
  if (isManifestCurrent(read(manifest), chart)) return;
  if (check) isStale(manifest);
  else write(manifest, renderManifest(chart));
}

main(process.argv.includes('--check'));
