import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { databasesOf } from './databases.ts';
import { type SizingInput, sizePools } from './sizing.ts';
import { poolerSpec } from './test-support/world.ts';

function input(spec: Record<string, unknown> = {}, changes: Partial<SizingInput> = {}): SizingInput {
  return {
    spec: poolerSpec(spec),
    databases: databasesOf('app', 'rw', ['s0']),
    limits: new Map([['s0', { maxConnections: 100, reserved: 3 }]]),
    instances: 2,
    poolers: 1,
    taken: { names: [], total: 0 },
    held: 0,
    ...changes,
  };
}

describe('automatic sizes', () => {
  it('share what a server has left over the instances', () => {
    expect(sizePools(input())).toMatchObject({
      kind: 'sized',
      databases: [{ name: 'app', shard: 's0', poolSize: 41, maxConnections: 43 }],
      total: 86,
      limit: 87,
    });
  });

  it('share it with other PoolerConfigs too', () => {
    expect(sizePools(input({}, { poolers: 2 }))).toMatchObject({
      databases: [{ maxConnections: 21 }],
      limit: 43,
    });
  });

  it('take of their share what others have given up, and keep what they have of it', () => {
    const taken = { names: ['web', 'jobs'], total: 60 };
    expect(sizePools(input({}, { poolers: 2, taken }))).toMatchObject({
      databases: [{ maxConnections: 13 }],
      limit: 27,
      message: expect.stringContaining('shared by 2 PoolerConfigs, of which web, jobs may open 60 still,'),
    });
    expect(sizePools(input({}, { poolers: 2, taken, held: 80 }))).toMatchObject({ limit: 43 });
  });

  it('wait for others, and name them, while they have it all', () => {
    const taken = { names: ['web'], total: 86 };
    expect(sizePools(input({}, { poolers: 2, taken }))).toEqual({
      kind: 'waiting',
      message:
        'PoolerConfig "web" may still open 86 of the 87 connections that shard s0 has for poolers, and the share of this ' +
        'one is 43: it waits until they give it up; one that is refused does so when its spec is put right, one that is ' +
        'deleted when its pods are gone',
    });
    const tooMuch = { sizing: 'manual', poolSize: 60 };
    expect(sizePools(input(tooMuch, { poolers: 2, taken }))).toMatchObject({ kind: 'refused' });
  });

  it('leave room for the pools that users have for themselves, and for the reserve', () => {
    const spec = { users: [{ name: 'reports', poolSize: 5 }], reservePoolSize: 3 };
    expect(sizePools(input(spec))).toMatchObject({ databases: [{ poolSize: 33, maxConnections: 43 }] });
  });

  it('take a smaller pool of one database', () => {
    const spec = { databases: [{ name: 'app', poolSize: 7 }] };
    expect(sizePools(input(spec))).toMatchObject({
      databases: [{ poolSize: 7, maxConnections: 9 }],
      total: 18,
    });
  });

  it('say of which database they are less than it asks for', () => {
    const spec = (poolSize: number) => ({ databases: [{ name: 'app', poolSize }] });
    expect(sizePools(input(spec(500)))).toMatchObject({
      databases: [{ poolSize: 41 }],
      message: expect.stringMatching(/ x 1 database; app gets 41 of its poolSize 500$/),
    });
    expect(sizePools(input(spec(41)))).toMatchObject({ message: expect.stringMatching(/ x 1 database$/) });
  });

  it('say how many connections are kept open, where that is less than asked for', () => {
    expect(sizePools(input({ minPoolSize: 50 }))).toMatchObject({
      message: expect.stringMatching(/ x 1 database; app keeps 41 of minPoolSize 50 open$/),
    });
    expect(sizePools(input({ minPoolSize: 41 }))).toMatchObject({
      message: expect.stringMatching(/ x 1 database$/),
    });
  });

  it('say the numbers when nothing fits', () => {
    const limits = new Map([['s0', { maxConnections: 20, reserved: 3 }]]);
    const sizing = sizePools(input({ replicas: 4 }, { limits, instances: 4 }));
    expect(sizing).toEqual({
      kind: 'refused',
      message:
        'max_connections 20 of shard s0 - 3 reserved by PostgreSQL - 10 reserved by spec.reservedConnections leaves 7 ' +
        'for 4 instances x 1 database, and 12 are needed: lower replicas or reservedConnections, or raise max_connections',
    });
  });
});

describe('a remedy', () => {
  it.each<[string, Record<string, unknown>, number, string]>([
    ['the size', { sizing: 'manual', poolSize: 100 }, 2, 'lower poolSize, replicas or reservedConnections,'],
    [
      'no instance where there is one, and nothing kept back where nothing is',
      { sizing: 'manual', poolSize: 100, reservedConnections: 0 },
      1,
      'lower poolSize, or raise max_connections',
    ],
    [
      'the size of a database',
      { sizing: 'manual', poolSize: 1, databases: [{ name: 'app', poolSize: 100 }] },
      2,
      'lower databases[app].poolSize, replicas or',
    ],
    [
      'the sizes of users, and the reserve',
      { users: [{ name: 'jobs', poolSize: 90 }, { name: 'app' }], reservePoolSize: 9 },
      2,
      'lower users[jobs].poolSize, reservePoolSize, replicas or',
    ],
  ])('is %s', (_, spec, instances, says) => {
    expect(sizePools(input(spec, { instances }))).toMatchObject({
      kind: 'refused',
      message: expect.stringContaining(`are needed: ${says}`),
    });
  });
});

describe('sizes by hand', () => {
  it('are taken as they are', () => {
    expect(sizePools(input({ sizing: 'manual', poolSize: 20 }))).toMatchObject({
      databases: [{ poolSize: 20, maxConnections: 22 }],
      total: 44,
    });
  });

  it('are refused with the numbers when they are too much', () => {
    const sizing = sizePools(input({ sizing: 'manual', poolSize: 50 }));
    expect(sizing).toMatchObject({
      kind: 'refused',
      message: expect.stringMatching(/leaves 87.*104 are needed/),
    });
  });
});

it('never oversubscribes a server, whatever is asked for', () => {
  const world = fc.record({
    instances: fc.integer({ min: 1, max: 32 }),
    poolers: fc.integer({ min: 1, max: 4 }),
    taken: fc.integer({ min: 0, max: 1000 }),
    held: fc.integer({ min: 0, max: 1000 }),
    shards: fc.integer({ min: 1, max: 4 }),
    maxConnections: fc.integer({ min: 10, max: 2000 }),
    reservedConnections: fc.integer({ min: 0, max: 50 }),
    reservePoolSize: fc.integer({ min: 0, max: 20 }),
    poolSize: fc.option(fc.integer({ min: 1, max: 200 }), { nil: undefined }),
  });
  fc.assert(
    fc.property(world, ({ shards, maxConnections, instances, poolers, taken, held, poolSize, ...spec }) => {
      const names = Array.from({ length: shards }, (_, index) => `s${index}`);
      const sizing = sizePools({
        spec: poolerSpec({ ...spec, ...(poolSize === undefined ? {} : { sizing: 'manual', poolSize }) }),
        databases: databasesOf('app', 'rw', names),
        limits: new Map(names.map((name) => [name, { maxConnections, reserved: 3 }])),
        instances,
        poolers,
        taken: { names: ['other'], total: taken },
        held,
      });
      if (sizing.kind !== 'sized') return;
      for (const shard of names) {
        const own = sizing.databases.filter((database) => database.shard === shard);
        const sum = own.reduce((total, database) => total + database.maxConnections, 0);
        const room = maxConnections - 3 - spec.reservedConnections;
        expect(sum * instances * poolers).toBeLessThanOrEqual(room);
        // Nor does it take more than others leave, but for what it has already.
        expect(sum * instances).toBeLessThanOrEqual(Math.max(held, room - taken));
        expect(own.every(({ poolSize: size, maxConnections: most }) => size >= 1 && size + 2 <= most)).toBe(
          true,
        );
      }
    }),
  );
});

it('keeps the plain name of the first shard when others come', () => {
  expect(databasesOf('app', 'rw', ['s0']).map(({ name }) => name)).toEqual(['app']);
  expect(databasesOf('app', 'rw', ['s0', 's1'])).toEqual([
    { name: 'app', shard: 's0' },
    { name: 'app_s0', shard: 's0' },
    { name: 'app_s1', shard: 's1' },
  ]);
  expect(databasesOf('app', 'ro', ['s0', 's1']).map(({ name }) => name)).toEqual([
    'app_ro',
    'app_s0_ro',
    'app_s1_ro',
  ]);
});
