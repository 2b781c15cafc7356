import { expect, test } from 'vitest';
import { definitionOf } from '../../../postgres/read-model/definition.ts';
import { publicationName } from '../../../postgres/read-model/names.ts';
import type { SourceFacts } from '../../../postgres/read-model/publisher.ts';
import type { ModelFacts } from '../../../postgres/read-model/subscriber.ts';
import { sketchStream } from '../test-support/stream.ts';
import { cluster, input, member, readers, shard } from '../test-support/world.ts';
import type { ModelMember, ModelSource } from './model.ts';
import { modelPart } from './names.ts';
import { planModel } from './plan.ts';

const tables = [{ name: 'orders', reference: false }];
const definition = definitionOf(tables);
const set = readers({ replicas: 3, mode: 'logical', logical: { tables: [{ name: 'orders' }] } });

function copyOf(ordinal: number): string {
  return `hr_readers_m${ordinal}_abcdef`;
}

/** A member with a copy, or one that is not there. */
function model(ordinal: number, copy: 'live' | 'copying' | 'none' = 'live'): ModelMember {
  const name = copyOf(ordinal);
  const value: ModelFacts = {
    copy: { name, definition, buckets: {}, live: copy === 'live' },
    streams: [sketchStream(name, 's0')],
    ledger: [],
    pendingRestart: false,
  };
  return {
    replica: member(set, ordinal),
    isSetUp: true,
    facts: copy === 'none' ? { state: 'absent' } : { state: 'present', value },
    failed: undefined,
  };
}

/** What each member does next, when the shard has the slots of these alone. */
function steps(members: readonly ModelMember[], slots: readonly number[]): (string | undefined)[] {
  const facts: SourceFacts = {
    timeline: 1,
    position: 100,
    maxWalSenders: 20,
    maxReplicationSlots: 20,
    ledger: [],
    moving: false,
    tables: [{ name: 'orders', owner: 'app', partitioned: true, columns: ['id'], identity: ['id'] }],
    publications: [publicationName('readers', definition)],
    slots: slots.map((ordinal) => ({ name: copyOf(ordinal), lost: false })),
    roles: slots.map(copyOf),
  };
  const source: ModelSource = {
    shard: 's0',
    member: 'shop-s0-0',
    address: '10.0.0.1',
    facts: { state: 'present', value: facts },
  };
  const given = input(set, [
    shard(
      members.map(({ replica }) => replica),
      { name: modelPart },
    ),
  ]);
  const decided = planModel({
    set,
    cluster,
    part: given.observed,
    members,
    takenByOthers: new Map(),
    world: {
      set: 'readers',
      tables,
      undistributed: [],
      sources: [source],
      map: undefined,
      migrations: { kind: 'known', list: [] },
      extras: { kind: 'known', list: [] },
      replacements: new Map(),
      maxCopies: set.spec.maxConcurrentClones,
    },
    secrets: new Map(),
    settings: given.settings,
    now: given.now,
  });
  return members.map(({ replica }) => decided.steps.get(replica.name)?.kind);
}

test.each([
  {
    what: 'one after the other',
    members: [model(0), model(1), model(2)],
    expected: ['reset', 'wait', 'wait'],
  },
  {
    what: 'not while as many are copied as may be',
    members: [model(0), model(1), model(2, 'copying')],
    expected: ['wait', 'wait', 'reset'],
  },
  {
    what: 'not the last that has a copy',
    members: [model(0), model(1, 'none'), model(2, 'none')],
    expected: ['wait', 'wait', 'wait'],
  },
  { what: 'one that has no other', members: [model(0)], expected: ['reset'] },
])('members whose slots are gone are copied anew: $what', ({ members, expected }) => {
  expect(steps(members, [])).toEqual(expected);
});

test('a member whose slot is gone is copied anew while another serves', () => {
  expect(steps([model(0), model(1)], [1])).toEqual(['reset', 'none']);
});
