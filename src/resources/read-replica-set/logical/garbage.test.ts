import { expect, it } from 'vitest';
import { definitionOf, type ModelTable } from '../../../postgres/read-model/definition.ts';
import { copyName, parseName, publicationName } from '../../../postgres/read-model/names.ts';
import type { ModelFacts } from '../../../postgres/read-model/subscriber.ts';
import type { Reading } from '../../../runtime/reading.ts';
import type { ObservedReplica } from '../model.ts';
import { isGarbage } from './garbage.ts';
import type { ModelMember } from './model.ts';

const tables: readonly ModelTable[] = [{ name: 'orders', reference: false }];
const present = publicationName('a-b', definitionOf(tables));
const former = publicationName('a-b', '00000000');
const own = copyName('a-b', 0, 'abcdef');
const old = copyName('a-b', 0, '123456');
const other = copyName('a-b', 1, 'abcdef');

function member(ordinal: number, facts: Reading<Partial<ModelFacts>>): ModelMember {
  return {
    replica: { ordinal } as ObservedReplica,
    isSetUp: true,
    facts: facts as Reading<ModelFacts>,
    failed: undefined,
  };
}
const live = member(0, {
  state: 'present',
  value: { copy: { name: own, definition: definitionOf(tables), buckets: {}, live: true } },
});
const silent = member(1, { state: 'unknown', error: new Error('x') });

it('keeps what members use, and what silent ones may use', () => {
  const names = [present, former, own, old, other, copyName('a', 0, 'abcdef'), 'hm_12345678_1', 'shop_s0_1'];
  expect(names.filter(isGarbage('a-b', tables, [live]))).toEqual([former, old, other]);
  expect(names.filter(isGarbage('a-b', tables, [live, silent]))).toEqual([old]);
});

it('reads names as they were made', () => {
  expect(parseName(own)).toEqual({ set: 'a-b', ordinal: 0 });
  expect(parseName(present)).toEqual({ set: 'a-b' });
  expect(parseName(copyName('a-m0-abcdef', 3, '123456'))).toEqual({ set: 'a-m0-abcdef', ordinal: 3 });
  expect(copyName('a'.repeat(30), 31, 'abcdef').length).toBeLessThan(63);
});
