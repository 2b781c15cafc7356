import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ShardMapSpec } from '../../api/v1alpha1/shard-map.ts';
import { ownerCounts } from '../../sharding/map.ts';
import type { MoveFacts } from './model.ts';
import { decideRebalance } from './plan.ts';
import { sketchCluster, sketchMap, sketchMeasurements, start } from './sketch.ts';
import { statusOf } from './status.ts';

/** What happens to a cluster: the user scales it, a move ends well or badly, or time goes by. */
type Happening =
  | { readonly kind: 'scale'; readonly count: number }
  | { readonly kind: 'end'; readonly which: number; readonly isDone: boolean }
  | { readonly kind: 'time'; readonly minutes: number };

const happenings: fc.Arbitrary<Happening> = fc.oneof(
  fc.record({ kind: fc.constant('scale' as const), count: fc.integer({ min: 1, max: 5 }) }),
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant('end' as const), which: fc.nat(), isDone: fc.boolean() }),
  },
  fc.record({ kind: fc.constant('time' as const), minutes: fc.integer({ min: 1, max: 30 }) }),
);

/** A cluster, its map and its ShardMoves, as a course of passes and happenings leaves them. */
class Course {
  now = start;
  count = 2;
  moves: MoveFacts[] = [];
  map: ShardMapSpec = sketchMap(sketchCluster({}));
  private conditions: NonNullable<ReturnType<typeof statusOf>['conditions']> = [];
  private readonly maxConcurrent: number;

  constructor(maxConcurrent: number) {
    this.maxConcurrent = maxConcurrent;
  }

  get running(): MoveFacts[] {
    return this.moves.filter((move) => move.isRunning);
  }

  /** One pass of the rebalancer, half a minute later; answers how many moves it made. */
  pass(): number {
    this.now = new Date(this.now.getTime() + 30_000);
    const owned = new Set(ownerCounts(this.map).keys());
    const shards = Math.max(this.count, ...[...owned].map((name) => Number(name.slice(1)) + 1));
    const sketched = sketchCluster({ shards: { count: this.count }, owners: shards });
    const rebalance = { ...sketched.spec.rebalance, maxConcurrent: this.maxConcurrent };
    const cluster = {
      ...sketched,
      spec: { ...sketched.spec, rebalance },
      status: { ...sketched.status, conditions: this.conditions },
    };
    const busy = Object.fromEntries(Array.from({ length: shards }, (_, index) => [`s${index}`, 0.05]));
    const view = {
      cluster,
      map: this.map,
      measurements: sketchMeasurements(this.map, busy, 1),
      moves: this.moves,
      claims: [],
      now: this.now,
    };
    const decision = decideRebalance(view, undefined);
    this.conditions = statusOf(view, decision).conditions ?? [];
    for (const { name, group, id, from, to } of decision.create) {
      expect(this.moves.map((move) => move.name)).not.toContain(name);
      this.moves.push({ name, group, buckets: [{ group, id, from, to }], isRunning: true });
    }
    return decision.create.length;
  }

  /** Ends one of the moves that run. */
  end(which: number, isDone: boolean): void {
    const move = this.running[which % Math.max(1, this.running.length)];
    const bucket = move?.buckets[0];
    if (move === undefined || bucket === undefined) return;
    const ended = isDone ? { movedAtMs: this.now.getTime() } : { failedAtMs: this.now.getTime() };
    this.moves = this.moves.map((other) =>
      other === move ? { ...move, isRunning: false, ...ended } : other,
    );
    if (!isDone) return;
    const epoch = this.map.epoch + 1;
    this.map = {
      ...this.map,
      epoch,
      groups: this.map.groups.map((group) => ({
        ...group,
        buckets: group.buckets.map((entry) =>
          group.name === bucket.group && entry.id === bucket.id
            ? { ...entry, shard: bucket.to, epoch }
            : entry,
        ),
      })),
    };
  }

  happen(happening: Happening): void {
    if (happening.kind === 'scale') this.count = happening.count;
    if (happening.kind === 'end') this.end(happening.which, happening.isDone);
    if (happening.kind === 'time') this.now = new Date(this.now.getTime() + happening.minutes * 60_000);
  }
}

describe('every course of a rebalanced cluster', () => {
  const courses = fc.tuple(fc.array(happenings, { maxLength: 40 }), fc.integer({ min: 1, max: 4 }));

  it('has at most one move for a shard and for a bucket at once, and no more than are allowed', () => {
    fc.assert(
      fc.property(courses, ([course, maxConcurrent]) => {
        const cluster = new Course(maxConcurrent);
        for (const happening of course) {
          cluster.happen(happening);
          const before = cluster.running.length;
          const made = cluster.pass();
          expect(made).toBeLessThanOrEqual(Math.max(0, maxConcurrent - before));
          const touched = cluster.running.flatMap(({ buckets }) =>
            buckets.flatMap(({ from, to }) => [from, to]),
          );
          expect(new Set(touched).size).toBe(touched.length);
        }
      }),
      { numRuns: 60 },
    );
  });

  it('comes to an end: shards that are not wanted are empty, the others even, and nothing is moved any more', () => {
    fc.assert(
      fc.property(courses, ([course, maxConcurrent]) => {
        const cluster = new Course(maxConcurrent);
        for (const happening of course) {
          cluster.happen(happening);
          cluster.pass();
        }
        let quiet = 0;
        for (let passes = 0; quiet < 65; passes += 1) {
          expect(passes).toBeLessThan(600);
          quiet = cluster.pass() === 0 && cluster.running.length === 0 ? quiet + 1 : 0;
          cluster.end(0, true);
        }
        const owned = Array.from({ length: cluster.count }, (_, index) => {
          return ownerCounts(cluster.map).get(`s${index}`)?.customer ?? 0;
        });
        expect(owned.reduce((sum, count) => sum + count, 0)).toBe(16);
        expect(Math.max(...owned) - Math.min(...owned)).toBeLessThanOrEqual(2);
      }),
      { numRuns: 60 },
    );
  });
});
