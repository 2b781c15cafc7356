import fc from 'fast-check';
import { expect, test } from 'vitest';
import { shardedClusterSpec } from '../../../api/v1alpha1/sharded-cluster.ts';
import { type MemberSize, memberSize, slotWalLimit, tune } from './tuning.ts';

const mebibyte = 1024 ** 2;
const gibibyte = 1024 ** 3;

const memory = fc.integer({ min: 256, max: 1024 * 1024 }).map((value) => value * mebibyte);
const cpu = fc.option(fc.integer({ min: 50, max: 128_000 }), { nil: undefined });
const storage = fc.integer({ min: 1, max: 64 * 1024 }).map((value) => value * gibibyte);
const size = fc.record<MemberSize>({ memory, cpu, storage });

/** Numbers of the tuned parameters, memory in MiB; a switch is none. */
function numbers(tuned: Record<string, string>): Record<string, number> {
  const found = Object.entries(tuned).map(([name, value]): [string, number] => [
    name,
    Number.parseFloat(value),
  ]);
  return Object.fromEntries(found.filter(([, value]) => !Number.isNaN(value)));
}

test('a bigger member gets no smaller setting', () => {
  fc.assert(
    fc.property(size, size, (a, b) => {
      const low = numbers(tune(smaller(a, b)));
      const high = numbers(tune(larger(a, b)));
      for (const [name, value] of Object.entries(low)) {
        // Without a CPU there is no parallel setting to compare.
        if (high[name] !== undefined) expect(value, name).toBeLessThanOrEqual(high[name]);
      }
    }),
    // Between these two the memory for maintenance rises by a step, once at the cost of work_mem.
    { examples: [[sized(285_212_672), sized(283_115_520)]] },
  );
});

function sized(bytes: number): MemberSize {
  return { memory: bytes, cpu: undefined, storage: gibibyte };
}

function smaller(a: MemberSize, b: MemberSize): MemberSize {
  return combined(a, b, Math.min);
}

function larger(a: MemberSize, b: MemberSize): MemberSize {
  return combined(a, b, Math.max);
}

function combined(a: MemberSize, b: MemberSize, choose: (x: number, y: number) => number): MemberSize {
  return {
    memory: choose(a.memory ?? 0, b.memory ?? 0),
    cpu: choose(a.cpu ?? 1000, b.cpu ?? 1000),
    storage: choose(a.storage, b.storage),
  };
}

test('all that may be used at once fits into the memory, with room for Patroni', () => {
  fc.assert(
    fc.property(size, (member) => {
      const tuned = numbers(tune(member));
      const {
        shared_buffers = NaN,
        max_connections = NaN,
        work_mem = NaN,
        maintenance_work_mem = NaN,
      } = tuned;
      const used = shared_buffers + max_connections * work_mem + 3 * maintenance_work_mem;
      expect(used + 64).toBeLessThanOrEqual((member.memory ?? 0) / mebibyte);
    }),
  );
});

test('WAL leaves most of the volume to data', () => {
  fc.assert(
    fc.property(size, (member) => {
      const { max_wal_size = NaN, min_wal_size = NaN } = numbers(tune(member));
      expect(min_wal_size).toBeLessThanOrEqual(max_wal_size);
      const kept = Number.parseFloat(slotWalLimit(member.storage));
      expect(max_wal_size + kept).toBeLessThanOrEqual((member.storage / mebibyte) * 0.4);
    }),
  );
});

test('every value is a switch, or a number with a unit that PostgreSQL knows', () => {
  fc.assert(
    fc.property(size, (member) => {
      for (const [name, value] of Object.entries(tune(member))) {
        expect(value, name).toMatch(/^(on|off|[0-9]+(\.[0-9]+)?(MB|min)?)$/);
      }
    }),
  );
});

test.each([
  ['256Mi', { shared_buffers: '64MB', work_mem: '2MB', max_connections: '30', maintenance_work_mem: '16MB' }],
  ['1Gi', { shared_buffers: '256MB', work_mem: '5MB', max_connections: '100', maintenance_work_mem: '64MB' }],
  ['16Gi', { shared_buffers: '4096MB', effective_cache_size: '12288MB', max_connections: '500' }],
])('%s of memory', (limit, expected) => {
  const spec = shardedClusterSpec.parse({
    resources: { limits: { memory: limit } },
    storage: { size: '10Gi' },
  });
  expect(tune(memberSize(spec))).toMatchObject(expected);
});

test('limits count before requests, and nothing given is a small server', () => {
  const storage = { size: '10Gi' };
  const both = { requests: { memory: '1Gi', cpu: '500m' }, limits: { memory: '2Gi' } };
  expect(memberSize(shardedClusterSpec.parse({ resources: both, storage }))).toEqual({
    memory: 2 * gibibyte,
    cpu: 500,
    storage: 10 * gibibyte,
  });
  const none = memberSize(shardedClusterSpec.parse({ storage }));
  expect(none).toEqual({ memory: undefined, cpu: undefined, storage: 10 * gibibyte });
  expect(tune(none)).toMatchObject({ shared_buffers: '128MB', max_connections: '50' });
  expect(tune(none)).not.toHaveProperty('max_parallel_workers');
});
