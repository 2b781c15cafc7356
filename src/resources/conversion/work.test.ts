import { expect, it } from 'vitest';
import type { ReconcileContext } from '../../runtime/controller.ts';
import { shardedCluster } from '../sharded-cluster/test-support/world.ts';
import type { ConversionDependencies } from './controller.ts';
import { createWork } from './work.ts';

const table = { name: 'orders', strategy: 'hash' as const, key: 'id' };
const context = { signal: new AbortController().signal } as ReconcileContext;

it.each([
  ['no shard has a primary', [table], 'PrimaryUnknown'],
  ['a table is written twice', [table, table], 'TablesInvalid'],
])('nothing new is told of conversions while %s', async (_, tables, why) => {
  const findPrimaries: ConversionDependencies['findPrimaries'] = async () => new Map();
  const work = createWork({ findPrimaries } as ConversionDependencies);
  expect(await work.pass(shardedCluster({ tables }), context)).toBe(why);
});
