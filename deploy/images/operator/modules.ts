// Copies the installed production dependencies to DIR/node_modules: modules.ts DIR, from the top of the checkout.
// The lockfile says which they are, so that no second installation is needed; what Node does not read stays behind.
import { cpSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

interface Locked {
  readonly version: string;
  readonly dev?: boolean;
  readonly devOptional?: boolean;
  readonly optional?: boolean;
}

const target = process.argv[2];
if (target === undefined) throw new Error('modules.ts DIR');
const lockfile: { packages: Record<string, Locked> } = JSON.parse(readFileSync('package-lock.json', 'utf8'));
const unread = /\.(d\.[mc]?ts|map|md|markdown)$/;

for (const [path, { dev, devOptional, optional, version }] of Object.entries(lockfile.packages)) {
  if (path === '' || dev || devOptional) continue;
  const installed = readVersion(path);
  if (installed === undefined && optional) continue;
  if (installed !== version) {
    throw new Error(`${path} is ${installed ?? 'not installed'}, the lockfile says ${version}: run npm ci`);
  }
  cpSync(path, join(target, path), {
    recursive: true,
    preserveTimestamps: true,
    filter: (source) =>
      // A nested package is in the lockfile under its own path.
      !source.slice(path.length).includes('node_modules') &&
      (!unread.test(source) || statSync(source).isDirectory()),
  });
}

function readVersion(path: string): string | undefined {
  try {
    return JSON.parse(readFileSync(join(path, 'package.json'), 'utf8')).version;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}
