import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { leafName } from '../../src/sharding/names.ts';
import { waitUntilWhole } from '../support/endurance.ts';
import { moveFaultNames, moveFaults } from '../support/move-faults.ts';
import {
  applicationOf,
  bucketOf,
  createMove,
  makeCustomers,
  ordersSpec,
  readMove,
  readOrders,
  remains,
  waitForEnd,
} from '../support/move-scene.ts';
import { startWriters } from '../support/move-writers.ts';
import { createNamespace, deleteNamespace } from '../support/namespace.ts';
import { query } from '../support/pg.ts';
import { RowLedger } from '../support/row-ledger.ts';
import { applyCluster, waitUntilReady } from '../support/sharded-cluster.ts';
import { waitFor } from '../support/wait.ts';

// Faults while the servers of two shards copy a large bucket by themselves. Small ones are in moves.test.ts.

const bucket = 0;

const lock = 4711;

/** Rows of customers wait on a shard for as long as somebody else has the lock there. */
const dawdling = `
  CREATE FUNCTION passes() RETURNS boolean LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_advisory_xact_lock_shared(${lock}); RETURN true; END $$;
  ALTER TABLE customers ADD CHECK (passes())`;

describe('a large bucket', () => {
  const key = { namespace: '', name: 'heavy' };
  const ledger = new RowLedger();
  let customers: number[] = [];
  let runs = 0;

  beforeAll(async () => {
    key.namespace = await createNamespace('large-moves');
    const spec = ordersSpec(2);
    await applyCluster(key, {
      ...spec,
      schema: [...(spec.schema ?? []), { name: '002', sql: dawdling }],
      members: 3,
      shards: { count: 2 },
      rebalance: { mode: 'off' },
    });
    await waitUntilReady(key, { timeoutMs: 240_000 });
    customers = await makeCustomers(key, 50);
    const { shard } = await bucketOf(key, bucket);
    // Some megabytes each, half of which compression takes away.
    const name = "SELECT string_agg(md5(c.id || '/' || n), '') FROM generate_series(1, 45000) n";
    await onShard(shard, `UPDATE ${leafName('customers', bucket)} c SET name = (${name})`);
  });

  afterAll(() => deleteNamespace(key.namespace));

  function onShard<Row extends object>(shard: string, text: string): Promise<Row[]> {
    return query<Row>({ ...key, cluster: key.name, shard }, text);
  }

  it.each(moveFaultNames)('moves in spite of its copy’s end: %s', async (fault) => {
    const run = runs++;
    for (const shard of ['s0', 's1']) await waitUntilWhole(key, shard);
    const { shard: from } = await bucketOf(key, bucket);
    const to = from === 's0' ? 's1' : 's0';
    const name = `m${run}`;
    const writers = startWriters(applicationOf(key), customers, { writers: 8, everyMs: 15, ledger, run });
    const holder = await applicationOf(key).connectApplication(to);
    try {
      await holder.query({ text: `SELECT pg_advisory_lock(${lock})` });
      await createMove(key, name, { bucket, to });
      await waitFor('the servers copy', async () => {
        const copied = await onShard(
          to,
          `SELECT FROM pg_stat_subscription WHERE relid = to_regclass('${leafName('customers', bucket)}')`,
        );
        return copied.length > 0 ? { done: true } : { state: (await readMove(key, name)).status };
      });
      await moveFaults[fault]({ key, name, bucket, from, to, held: await readMove(key, name) });
      await holder.close();
      expect(await waitForEnd(key, name, 180_000)).toMatchObject({ phase: 'done' });
    } finally {
      await holder.close();
      await writers.stop();
    }
    const report = await writers.stop();
    expect(report.violations).toEqual([]);
    expect(ledger.judge(await readOrders(key))).toEqual({ lost: [], stale: [], doubled: [], strange: [] });
    await waitFor(
      'nothing is left of the move',
      async () => {
        const left = await remains(key);
        return left.length === 0 ? { done: true } : { state: left };
      },
      { timeoutMs: 150_000 },
    );
  });
});
