import { expect, test } from 'vitest';
import type { ModelFacts } from '../../../postgres/read-model/subscriber.ts';
import type { Reading } from '../../../runtime/reading.ts';
import type { ObservedReplica } from '../model.ts';
import type { Rotation } from '../names.ts';
import { readers, member as replica } from '../test-support/world.ts';
import type { ModelMember } from './model.ts';
import { endStale } from './stale-sessions.ts';

const limits = { maxBytes: 1_000, maxSeconds: 10 };
const late = { bytes: 0, seconds: 10, exact: true };
const copy = { name: 'copy', definition: 'definition', buckets: {} };
const live = { state: 'present', value: { copy: { ...copy, live: true } } };
const copying = { state: 'present', value: { copy: { ...copy, live: false } } };
const emptied = { state: 'present', value: { copy: undefined } };
const silent = { state: 'unknown', error: new Error('silence') };

function ended(facts: object, rotation: Rotation | undefined, fields: Partial<ObservedReplica> = {}) {
  const of = replica(readers(), 0, { outMs: 700, ...fields });
  const member: ModelMember = {
    replica: of,
    isSetUp: true,
    facts: facts as Reading<ModelFacts>,
    failed: undefined,
  };
  const decision = { name: of.name, rotation, isLate: false, reason: undefined, detail: undefined };
  return endStale([member], { members: [decision], servedBy: 'members' }, limits, 30_000);
}

const end = {
  kind: 'end-sessions',
  shard: 'model',
  member: 'readers-s0-replicas-0',
  outMs: 700,
  graceMs: 30_000,
};

test.each([
  { what: 'is late', facts: live, fields: { lag: late } },
  { what: 'does not answer, and was late', facts: silent, fields: { lag: late } },
  { what: 'copies its tables again', facts: copying, fields: { lag: undefined } },
  { what: 'has emptied its tables', facts: emptied, fields: { lag: undefined } },
])('sessions end on a member that $what', ({ facts, fields }) => {
  expect(ended(facts, 'out', fields)).toEqual([end]);
});

test.each([
  { what: 'is in rotation', facts: live, rotation: 'in' as const },
  {
    what: 'is the freshest of those that are late',
    facts: live,
    rotation: 'in' as const,
    fields: { lag: late },
  },
  { what: 'drains', facts: live, rotation: 'draining' as const, fields: { lag: late } },
  { what: 'has never been in rotation', facts: copying, rotation: undefined },
  { what: 'is under its limits again', facts: live, rotation: 'out' as const },
  { what: 'is not ready', facts: copying, rotation: 'out' as const, fields: { ready: false } },
  {
    what: 'is being told to',
    facts: copying,
    rotation: 'out' as const,
    fields: { work: new Map([['end-sessions', { state: 'running' }]] as const) },
  },
])('they stay on one that $what', ({ facts, rotation, fields = {} }) => {
  expect(ended(facts, rotation, fields)).toEqual([]);
});
