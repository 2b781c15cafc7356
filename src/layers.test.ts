import { globSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

const source = import.meta.dirname;

/** Modules with effects: what decides must not reach them, not even through others. */
const effects = [
  /^node:(net|tls|http|https|http2|fs|fs\/promises|child_process|timers|timers\/promises|dns)$/,
  /^(pg|pino|prom-client|@kubernetes\/client-node)$/,
];

/** What decides: plans, steps, builders, statuses, and everything about buckets. */
const pure = [
  'resources/*/steps/*.ts',
  'resources/*/desired/*.ts',
  'resources/*/plan.ts',
  'resources/*/pgpool/*.ts',
  'resources/*/status*.ts',
  'resources/read-replica-set/logical/{desired/*,garbage,history,next-step,plan,status,tables}.ts',
  'sharding/**/*.ts',
  'api/v1alpha1/*.ts',
];

/** Modules that a file imports as values: types are gone at run time. */
function imports(file: string): string[] {
  const text = readFileSync(file, 'utf8');
  return [...text.matchAll(/^(?:import|export)\s+(?!type\b)(?:[^'";]*?from\s+)?'([^']+)';/gms)].flatMap(
    (match) => match[1] ?? [],
  );
}

/** Every module that a file reaches, with the way to it. */
function reached(
  file: string,
  way: readonly string[] = [],
  seen = new Map<string, readonly string[]>(),
): Map<string, readonly string[]> {
  for (const name of imports(file)) {
    const target = name.startsWith('.') ? resolve(dirname(file), name) : name;
    if (seen.has(target)) continue;
    seen.set(target, [...way, relative(source, target)]);
    if (name.startsWith('.')) reached(target, [...way, relative(source, target)], seen);
  }
  return seen;
}

function files(...patterns: readonly string[]): string[] {
  return patterns
    .flatMap((pattern) => globSync(pattern, { cwd: source }))
    .filter((file) => !file.endsWith('.test.ts'))
    .map((file) => join(source, file));
}

describe('the layers', () => {
  it('let nothing that decides reach the world', () => {
    const found = files(...pure).flatMap((file) =>
      [...reached(file)]
        .filter(([module]) => effects.some((effect) => effect.test(module)))
        .map(([module, way]) => `${relative(source, file)} reaches ${module} by ${way.join(' → ')}`),
    );
    expect(found).toEqual([]);
  });

  it('keep the runtime free of PostgreSQL and of our kinds', () => {
    const runtime = join(source, 'runtime');
    const found = files('runtime/*.ts').flatMap((file) =>
      [...reached(file).keys()].filter((module) => module.startsWith(source) && !module.startsWith(runtime)),
    );
    expect(found).toEqual([]);
  });

  it('keep buckets and SQL free of Kubernetes', () => {
    const found = files('sharding/**/*.ts', 'postgres/**/*.ts').flatMap((file) =>
      [...reached(file).keys()].filter(
        (module) => module.includes('/resources/') || module.endsWith('/runtime/kube-client.ts'),
      ),
    );
    expect(found).toEqual([]);
  });

  it('are looked at at all', () => {
    expect(files(...pure).length).toBeGreaterThan(20);
    expect([...reached(join(source, 'main.ts')).keys()]).toContain('pg');
  });
});
