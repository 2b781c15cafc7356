import { afterAll } from 'vitest';
import { createNamespace, deleteNamespace } from './namespace.ts';

/** A namespace for the tests of one file; it is deleted after them. */
export async function namespaceForFile(topic: string): Promise<string> {
  const name = await createNamespace(topic);
  afterAll(() => deleteNamespace(name));
  return name;
}
