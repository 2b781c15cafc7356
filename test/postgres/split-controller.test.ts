import { afterAll, beforeAll, expect, it } from 'vitest';
import { type MoveController, startMoveController } from '../support/move-controller.ts';

/** Checks of the keys' types are functions of the application's, which do not run with the operator's rights. */
const sql = `
  CREATE FUNCTION sees(text) RETURNS boolean LANGUAGE plpgsql AS $$
    BEGIN IF current_user = 'herdsman' THEN RAISE 'run by %', current_user; END IF; RETURN $1 <> 'none'; END $$;
  CREATE DOMAIN day AS date CHECK (sees(VALUE::text));
  CREATE DOMAIN tenant AS text CHECK (sees(VALUE));
  CREATE TABLE orders (id int PRIMARY KEY) PARTITION BY HASH (id);
  CREATE TABLE events (at day, id int, PRIMARY KEY (at, id)) PARTITION BY RANGE (at);
  CREATE TABLE accounts (tenant tenant, id int, PRIMARY KEY (tenant, id)) PARTITION BY LIST (tenant)`;
const tables = [
  { name: 'orders', strategy: 'hash' as const, key: 'id', buckets: 2 },
  {
    name: 'events',
    strategy: 'range' as const,
    key: 'at',
    bounds: [{ to: '2026-01-01' }, { from: '2026-01-01' }],
  },
  { name: 'accounts', strategy: 'directory' as const, key: 'tenant', buckets: 1 },
];

let moves: MoveController;

beforeAll(async () => {
  moves = await startMoveController(sql, tables, async (shards) => {
    const rest = shards.map.current.value.groups.find(({ name }) => name === 'accounts')?.buckets[0];
    await shards.rows(
      's0',
      "INSERT INTO public.events SELECT '2025-01-01'::date + n, n FROM generate_series(0, 299) n",
    );
    const accounts = "INSERT INTO public.accounts SELECT 't' || n % 5, n FROM generate_series(1, 100) n";
    await shards.rows(rest?.shard ?? '', accounts);
  });
}, 120_000);

afterAll(() => moves?.stop());

const other = (shard = '') => (shard === 's0' ? 's1' : 's0');

it('a hash bucket is split, and its parts are merged', async () => {
  const split = await moves.end('split', { operation: 'split', group: 'orders', buckets: [0], to: 's1' });
  expect(split).toMatchObject({ phase: 'done', from: 's0', children: [{ id: 2 }, { id: 3 }] });
  expect(moves.bucketsOf('orders').map(({ id }) => id)).toEqual([1, 2, 3]);
  const merge = await moves.end('merge', { operation: 'merge', group: 'orders', buckets: [2, 3], to: 's0' });
  expect(merge).toMatchObject({ phase: 'done', children: [{ id: 4, hash: { modulus: 2, remainder: 0 } }] });
});

it('a range is split at its median', async () => {
  const status = await moves.end('median', { operation: 'split', group: 'events', buckets: [0], to: 's1' });
  expect(status).toMatchObject({
    phase: 'done',
    children: [{ range: { to: '2025-05-30' } }, { range: { from: '2025-05-30', to: '2026-01-01' } }],
  });
});

it('a tenant is isolated', async () => {
  const to = other(moves.bucketsOf('accounts')[0]?.shard);
  const status = await moves.end('isolate', { operation: 'isolate', group: 'accounts', tenant: 't3', to });
  expect(status).toMatchObject({ phase: 'done', children: [{ values: ['t3'] }, { isDefault: true }] });
  const rows = await moves.shards.rows(to, 'SELECT count(*)::int AS rows FROM public.accounts_b0001');
  expect(rows).toEqual([{ rows: 20 }]);
});

it.each([
  ['no-bucket', { operation: 'split', group: 'orders', buckets: [99], to: 's1' }, 'has no bucket 99'],
  ['same', { operation: 'split', group: 'orders', buckets: [4], to: 's0' }, 'write "to: s1"'],
  [
    'apart',
    { operation: 'merge', group: 'orders', buckets: [1, 4], to: 's0' },
    'move them to one shard first',
  ],
  [
    'outside',
    { operation: 'split', group: 'events', buckets: [1], at: '2020-01-01', to: 's0' },
    'leave "at" out',
  ],
  [
    'no-date',
    { operation: 'split', group: 'events', buckets: [1], at: 'never', to: 's0' },
    'is not a key of this group',
  ],
  ['empty', { operation: 'split', group: 'events', buckets: [1], to: 's0' }, 'write "at"'],
  ['cousins', { operation: 'merge', group: 'events', buckets: [1, 2], to: 's0' }, 'cannot be merged'],
  [
    'stranger',
    { operation: 'isolate', group: 'accounts', tenant: 'nobody', to: 's0' },
    'see to its spelling',
  ],
  [
    'refused',
    { operation: 'isolate', group: 'accounts', tenant: 'none', to: 's0' },
    'violates check constraint',
  ],
  ['twice', { operation: 'isolate', group: 'accounts', tenant: 't3', to: 's0' }, 'write "operation: move"'],
])('what cannot be is refused with what to write instead: %s', async (name, spec, says) => {
  const status = await moves.end(name, spec);
  expect(status).toMatchObject({ phase: 'failed', message: expect.stringContaining(says) });
});

it('moves of two people that cross keep out of each other’s way', async () => {
  const ended = await Promise.all([
    moves.end('there', { group: 'orders', buckets: [4], to: 's1' }),
    moves.end('here', { group: 'orders', buckets: [1], to: 's0' }),
  ]);
  expect(ended).toMatchObject([{ phase: 'done' }, { phase: 'done' }]);
  expect(moves.bucketsOf('orders')).toMatchObject([
    { id: 1, shard: 's0' },
    { id: 4, shard: 's1' },
  ]);
});

it('of two people who move the same bucket, one does, and the other is told', async () => {
  const ended = await Promise.all(
    ['first', 'second'].map((name) => moves.end(name, { group: 'orders', buckets: [1], to: 's1' })),
  );
  expect(ended.map(({ phase }) => phase).sort()).toEqual(['done', 'failed']);
  expect(ended.find(({ phase }) => phase === 'failed')?.lastEnding?.message).toMatch(
    /on shard s1 already|owner is s1/,
  );
  expect(moves.bucketsOf('orders')).toContainEqual(expect.objectContaining({ id: 1, shard: 's1' }));
});

it('numbers of buckets that were taken are found again when that could not be written down', async () => {
  const [bucket] = moves.bucketsOf('orders');
  const { id = -1, shard = '' } = bucket ?? {};
  const split = { operation: 'split', group: 'orders', buckets: [id], to: other(shard) };
  const newest = Math.max(...moves.bucketsOf('orders').map((known) => known.id));
  moves.loseBeginning('lost');
  expect(await moves.end('lost', split)).toMatchObject({
    phase: 'done',
    children: [{ id: newest + 1 }, { id: newest + 2 }],
  });
  const buckets = [newest + 1, newest + 2];
  const merge = { operation: 'merge', group: 'orders', buckets, to: shard };
  expect(await moves.end('lost-and-merged', merge)).toMatchObject({
    phase: 'done',
    children: [{ id: newest + 3 }],
  });
});
