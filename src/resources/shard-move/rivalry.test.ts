import fc from 'fast-check';
import { expect, it } from 'vitest';
import { shardMoveSpec } from '../../api/v1alpha1/shard-move.ts';
import { drive, type MoveWorld } from '../../sharding/move/drive.ts';
import type { ShardFacts } from '../../sharding/move/model.ts';
import { rivalOf } from './busy.ts';
import type { ShardMove } from './model.ts';
import { moveOf, recordOf, withRecord } from './record.ts';

const now = new Date('2026-01-01T00:00:00Z');

function sketch(name: string, bucket: number, from: string, to: string): ShardMove {
  return {
    apiVersion: 'herdsman.dev/v1alpha1',
    kind: 'ShardMove',
    metadata: { name, namespace: 'test', uid: `${name.repeat(8)}-`, resourceVersion: '1' },
    spec: shardMoveSpec.parse({ cluster: 'shop', group: 'g', buckets: [bucket], to }),
    status: { from, parents: [{ id: bucket }] },
  };
}

const nothing: ShardFacts = {
  ...{
    timeline: 1,
    guard: undefined,
    marker: undefined,
    prepared: [],
    leaves: 'absent' as const,
    retired: false,
    unsettled: false,
  },
  ...{ publications: [], slots: [], subscriptions: [], roles: [] },
};

/** Moves on shards that are there and the API server, but no cache that would tell of one to the other. */
class Rivals {
  readonly moves: Map<string, ShardMove>;
  readonly staged = new Set<string>();
  readonly #turn: () => Promise<void>;

  constructor(moves: readonly ShardMove[], turn: () => Promise<void>) {
    this.moves = new Map(moves.map((move) => [move.metadata.name, move]));
    this.#turn = turn;
  }

  /** Passes of one move until it has begun, or so many of them. */
  async run(name: string, passes: number): Promise<void> {
    const world = this.#worldOf(name);
    for (let pass = 0; pass < passes && !this.staged.has(name); pass += 1) {
      const { status } = this.#read(name);
      await drive(world, moveOf(this.#read(name), status?.from ?? ''));
    }
  }

  #read(name: string): ShardMove {
    const found = this.moves.get(name);
    if (found === undefined) throw new Error(`there is no ${name}`);
    return found;
  }

  #worldOf(name: string): MoveWorld {
    const buckets = [0, 1].map((id) => ({
      id,
      shard: this.#read([...this.moves.keys()][id] ?? '').status?.from,
    }));
    const map = { cluster: 'shop', epoch: 1, groups: [{ name: 'g', strategy: 'hash', buckets }] };
    return {
      map: {
        read: async () => ({ version: '1', value: map as never }),
        replace: async () => 'conflict',
      },
      record: {
        read: async () => {
          await this.#turn();
          const { metadata, status } = this.#read(name);
          return { version: metadata.resourceVersion ?? '', value: recordOf(status) };
        },
        replace: async (version, record) => {
          await this.#turn();
          const found = this.#read(name);
          if (found.metadata.resourceVersion !== version) return 'conflict';
          const metadata = { ...found.metadata, resourceVersion: `${Number(version) + 1}` };
          this.moves.set(name, { ...found, metadata, status: withRecord(found.status, record, now) });
          return { version: metadata.resourceVersion };
        },
      },
      observe: async () => nothing,
      obstacles: async () => [],
      rival: async () => {
        await this.#turn();
        const all = [...this.moves.values()];
        return rivalOf(this.#read(name), all) ?? 'none';
      },
      perform: async () => {
        await this.#turn();
        this.staged.add(name);
        throw new Error('enough');
      },
      now: () => now.getTime(),
    };
  }
}

it.each([
  ['of one bucket', sketch('a', 0, 's0', 's1'), sketch('b', 0, 's0', 's1')],
  ['that cross', sketch('a', 0, 's0', 's1'), sketch('b', 1, 's1', 's0')],
  ['with one target', sketch('a', 0, 's0', 's2'), sketch('b', 1, 's1', 's2')],
])(
  'of two moves %s that know nothing of each other one begins, whatever the order of their steps',
  async (_, a, b) => {
    await fc.assert(
      fc.asyncProperty(fc.scheduler(), async (scheduler) => {
        const rivals = new Rivals([a, b], () => scheduler.schedule(Promise.resolve()));
        const both = Promise.all([rivals.run('a', 30), rivals.run('b', 30)]);
        await scheduler.waitFor(both);
        expect(rivals.staged.size).toBe(1);
      }),
      { numRuns: 300 },
    );
  },
);
