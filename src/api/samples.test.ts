import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadAll } from 'js-yaml';
import { expect, test } from 'vitest';
import { kinds } from './kinds.ts';

const folder = join(import.meta.dirname, '../../deploy/samples');

test.each(globSync('*.yaml', { cwd: folder }))('the sample %s is what its kinds take', (file) => {
  const objects = loadAll(readFileSync(join(folder, file), 'utf8')) as { kind: string }[];
  expect(objects.length).toBeGreaterThan(0);
  for (const object of objects) {
    const kind = kinds.find((candidate) => candidate.kind === object.kind);
    expect(kind, object.kind).toBeDefined();
    expect(kind?.schema.safeParse(object).error).toBeUndefined();
  }
});
