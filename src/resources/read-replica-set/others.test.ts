import { expect, test } from 'vitest';
import type { StatefulSet } from '../sharded-cluster/kubernetes.ts';
import { type OtherSets, takenByOthers } from './others.ts';
import { readers } from './test-support/world.ts';

/** Another set of the cluster, with as many members in a StatefulSet of this name. */
function other(spec: Record<string, unknown>, statefulSet: string, members: number): OtherSets {
  const set = readers(spec);
  const present = { spec: { replicas: members } } as StatefulSet;
  return {
    sources: {
      replicaSets: {
        cache: { byIndex: () => [readers(), { ...set, metadata: { ...set.metadata, name: 'other' } }] },
      },
    },
    replicas: {
      statefulSets: {
        cache: { get: ({ name }: { name: string }) => (name === statefulSet ? present : undefined) },
      },
    },
  } as unknown as OtherSets;
}

const logical = { mode: 'logical', logical: { tables: [{ name: 'orders' }] } };

test.each<{ what: string; others: OtherSets; standby?: boolean; senders: number; slots: number }>([
  { what: 'streams from the primary', others: other({}, 'other-s0-replicas', 3), senders: 3, slots: 3 },
  { what: 'is in another shard', others: other({}, 'other-s1-replicas', 3), senders: 0, slots: 0 },
  {
    what: 'is a cascade',
    others: other({ source: 'cascade' }, 'other-s0-replicas', 3),
    senders: 1,
    slots: 3,
  },
  { what: 'is a read model', others: other(logical, 'other-model-replicas', 2), senders: 2, slots: 2 },
  {
    what: 'streams from a standby',
    others: other({ source: 'standby' }, 'other-s0-replicas', 3),
    senders: 0,
    slots: 3,
  },
  {
    what: 'would stream from a standby, and finds none',
    others: other({ source: 'standby' }, 'other-s0-replicas', 3),
    standby: false,
    senders: 3,
    slots: 3,
  },
])(
  'another set that $what takes $senders senders and $slots slots of the primary',
  ({ others, standby = true, senders, slots }) => {
    expect(takenByOthers(others, readers(), 's0', standby)).toEqual({ senders, slots });
  },
);
