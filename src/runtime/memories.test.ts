import { expect, test } from 'vitest';
import { createMemories } from './memories.ts';

const readers = (uid: string, namespace = 'store') => ({ name: 'readers', namespace, uid });

test('an object has the same memory in every pass, until it is gone', () => {
  const memories = createMemories<object>();
  const first = memories.of(readers('a'), () => ({}));
  expect(memories.of(readers('a'), () => ({}))).toBe(first);
  expect(memories.of(readers('b', 'elsewhere'), () => ({}))).not.toBe(first);
  memories.forget({ namespace: 'store', name: 'readers' });
  expect(memories.of(readers('a'), () => ({}))).not.toBe(first);
});

test('one that was made again under the same name, before it was seen to be gone, begins anew', () => {
  const memories = createMemories<object>();
  const former = memories.of(readers('a'), () => ({}));
  const present = memories.of(readers('b'), () => ({}));
  expect(present).not.toBe(former);
  expect(memories.of(readers('b'), () => ({}))).toBe(present);
});
