import { describe, expect, it } from 'vitest';
import type { Connection } from '../connection.ts';
import type { MoveContext, Side } from './context.ts';
import { diskObstacle, findObstacles } from './preflight.ts';

const mebibyte = 2 ** 20;
const volume = { bytes: 1_000 * mebibyte };

it('a move for which the target has room is begun', () => {
  expect(diskObstacle('s1', 100 * mebibyte, 700 * mebibyte, volume)).toBeUndefined();
});

it('a move for which the target is too small waits, and says how much it needs', () => {
  expect(diskObstacle('s1', 200 * mebibyte, 700 * mebibyte, volume)).toEqual({
    code: 'DiskTooSmall',
    permanent: false,
    message:
      'shard s1 has 288 MiB of 1000 MiB free, and the move needs 368 MiB (1.3 times what is written there, and a tenth of the volume): ' +
      'raise spec.storage.size, or move less',
  });
});

it('a move that waits says the same while the target writes a little', () => {
  const told = diskObstacle('s1', 200 * mebibyte, 700 * mebibyte, volume);
  expect(diskObstacle('s1', 201 * mebibyte, 707 * mebibyte, volume)).toEqual(told);
  expect(diskObstacle('s1', 200 * mebibyte, 800 * mebibyte, volume)).not.toEqual(told);
});

it('a move for which the target is too small as long as its volume grows says so', () => {
  const obstacle = diskObstacle('s1', 200 * mebibyte, 700 * mebibyte, { ...volume, growsTo: '2Gi' });
  expect(obstacle?.message).toMatch(/: it waits until the volume has grown to 2Gi, or move less$/);
});

it('a volume that holds more than it should has nothing free', () => {
  expect(diskObstacle('s1', 0, 1_200 * mebibyte, volume)).toMatchObject({
    message: expect.stringContaining('has 0 MiB of 1000 MiB free'),
  });
});

describe('a server on which something is too small', () => {
  const roomy = {
    walLevel: 'logical',
    preparedMax: 16,
    prepared: 0,
    slotsMax: 10,
    slots: 0,
    origins: 0,
    sendersMax: 10,
    senders: 0,
    workersMax: 4,
    workers: 0,
    standbysMissing: false,
    ledger: '',
    tables: 1,
    buckets: 1,
    installed: true,
    used: 0,
  };
  const bucket = { id: 0, hash: { modulus: 1, remainder: 0 } };
  const group = {
    name: 'orders',
    strategy: 'hash' as const,
    tables: [{ name: 'orders', key: 'k' }],
    ...{ buckets: 1, bounds: [], defaultBucket: false, regions: [], tenants: [] },
  };

  /** What is in the way when the source says this of itself, and the target that. */
  async function obstacles(source: Partial<typeof roomy>, target: Partial<typeof roomy>): Promise<string[]> {
    const answer = (side: Side, text: string): unknown[] => {
      if (text.includes('"walLevel"')) return [{ ...roomy, ...(side === 'source' ? source : target) }];
      return text.includes('AS attached')
        ? [
            {
              attached: true,
              key: true,
              deferrable: false,
              generated: false,
              nothing: false,
              unlogged: false,
            },
          ]
        : [];
    };
    const use: MoveContext['use'] = (side, work) =>
      work({ query: async ({ text }: { text: string }) => answer(side, text) } as unknown as Connection);
    const move = {
      ...{ key: 'move.00000000', id: '00000000', group: 'orders', parents: [bucket], children: [bucket] },
      ...{ from: 's0', to: 's1', verify: 'full' as const, cancel: false, retentionMs: 0 },
    };
    const owned = {
      name: 'orders',
      strategy: 'hash' as const,
      buckets: [{ ...bucket, shard: 's0', epoch: 1 }],
    };
    const targetEndpoint = { host: 's1', port: 5432, dbname: 'app' };
    const open = () => Promise.reject(new Error('nothing is copied'));
    const found = await findObstacles({ move, group, owned, targetEndpoint, sourceAddress: {}, use, open });
    return found.map(
      ({ code, permanent, message }) => `${code} ${permanent ? 'permanent' : 'passing'}: ${message}`,
    );
  }

  it('is not there when nothing is', async () => {
    expect(await obstacles({}, {})).toEqual([]);
  });

  it.each<[string, Partial<typeof roomy>, Partial<typeof roomy>, string]>([
    [
      'prepared transactions',
      { preparedMax: 0 },
      {},
      'NoPreparedTransactions permanent: shard s0: max_prepared_transactions is 0',
    ],
    ['prepared transactions there', {}, { preparedMax: 0 }, 'NoPreparedTransactions permanent: shard s1'],
    ['prepared transactions in use', { prepared: 16 }, {}, 'NoPreparedTransactions passing: shard s0: 16 of'],
    ['slots', { slotsMax: 0 }, {}, 'NoReplicationSlots permanent: shard s0: max_replication_slots is 0'],
    [
      'slots in use',
      { slots: 10 },
      {},
      'NoReplicationSlots passing: shard s0: 10 of max_replication_slots = 10',
    ],
    ['origins', {}, { origins: 10 }, 'NoReplicationSlots passing: shard s1'],
    ['walsenders', { senders: 9 }, {}, 'NoWalSenders passing: shard s0: 9 of max_wal_senders = 10'],
    ['workers', {}, { workersMax: 0 }, 'NoWorkers permanent: shard s1: max_logical_replication_workers is 0'],
    ['WAL', { walLevel: 'replica' }, {}, 'WalLevel permanent: shard s0: wal_level is replica'],
    ['standbys', {}, { standbysMissing: true }, 'NoSynchronousStandby passing: shard s1'],
  ])('is told of: %s', async (_, source, target, says) => {
    const [only, ...others] = await obstacles(source, target);
    expect(only).toContain(says);
    expect(others).toEqual([]);
  });
});
