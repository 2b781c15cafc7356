import { afterAll, beforeAll } from 'vitest';
import { createNamespace, deleteNamespace, namespaceName } from './namespace.ts';

/** A namespace for the tests of one file: it is there while they run, and not made for a file without a test to run. */
export function namespaceForFile(topic: string): string {
  const name = namespaceName(topic);
  beforeAll(() => createNamespace(topic, name).then(() => undefined));
  afterAll(() => deleteNamespace(name));
  return name;
}
