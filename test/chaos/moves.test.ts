import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ShardMove } from '../../src/resources/shard-move/model.ts';
import { waitUntilWhole } from '../support/endurance.ts';
import { type MoveFaultName, moveFaultNames, moveFaults } from '../support/move-faults.ts';
import {
  applicationOf,
  bucketOf,
  createMove,
  loadCustomers,
  makeCustomers,
  ordersSpec,
  readOrders,
  remains,
  waitForEnd,
  waitUntilCopying,
  waitUntilPaused,
} from '../support/move-scene.ts';
import { startWriters } from '../support/move-writers.ts';
import { createNamespace, deleteNamespace } from '../support/namespace.ts';
import { RowLedger } from '../support/row-ledger.ts';
import { applyCluster, type ClusterKey, waitUntilReady } from '../support/sharded-cluster.ts';
import { waitFor } from '../support/wait.ts';
import { allMoveScenarios, chooseMoveScenarios, isWhole, type MoveScenario, seed } from './choice.ts';

// Every fault at every step of a move, under writers on every bucket. In a run of everything six of them, chosen by the seed.

const buckets = 4;
const scenarios = isWhole ? allMoveScenarios(moveFaultNames) : chooseMoveScenarios(moveFaultNames, seed);

describe('moves', () => {
  const key = { namespace: '', name: 'wander' };
  const ledger = new RowLedger();
  let customers: number[] = [];
  let runs = 0;

  beforeAll(async () => {
    key.namespace = await createNamespace('moves');
    await applyCluster(key, {
      ...ordersSpec(buckets),
      members: 3,
      shards: { count: 2 },
      rebalance: { mode: 'off' },
    });
    await waitUntilReady(key, { timeoutMs: 240_000 });
    customers = await makeCustomers(key, 50);
    for (const shard of ['s0', 's1']) await loadCustomers(key, shard);
  });

  afterAll(() => deleteNamespace(key.namespace));

  it.each(scenarios.map((scenario) => [titleOf(scenario), scenario] as const))(
    '%s',
    async (title, scenario) => {
      const begun = performance.now();
      const run = runs++;
      for (const shard of ['s0', 's1']) await waitUntilWhole(key, shard);
      const writers = startWriters(applicationOf(key), customers, { writers: 8, everyMs: 15, ledger, run });
      let outcome = '';
      try {
        outcome = await play(key, run, scenario);
      } finally {
        await writers.stop();
      }
      const report = await writers.stop();
      expect(report.violations).toEqual([]);
      expect(ledger.judge(await readOrders(key))).toEqual({ lost: [], stale: [], doubled: [], strange: [] });
      const took = Math.round((performance.now() - begun) / 1000);
      const gap = (report.longestGapMs / 1000).toFixed(1);
      console.log(`${title}: ${outcome}; ${report.acknowledged} commits, gap ${gap} s, took ${took} s`);
    },
  );
});

function titleOf({ fault, stop }: MoveScenario<MoveFaultName>): string {
  return `${fault} in step ${stop.protocol} (${stop.isUnderWay ? 'in' : 'before'} ${stop.step})`;
}

/** Makes a move, and waits until it stands before a step, or is in the middle of it. */
async function meet(
  key: ClusterKey,
  name: string,
  move: { bucket: number; to: string },
  { step, isUnderWay }: MoveScenario<MoveFaultName>['stop'],
): Promise<ShardMove> {
  if (isUnderWay) {
    await createMove(key, name, { ...move, maxBytesPerSecond: 65_536 });
    return waitUntilCopying(key, name);
  }
  await createMove(key, name, { ...move, before: step });
  return waitUntilPaused(key, name, step);
}

/** Breaks something while a move is at a step; answers how it ended. */
async function play(
  key: ClusterKey,
  run: number,
  { fault, stop }: MoveScenario<MoveFaultName>,
): Promise<string> {
  const name = `m${run}-${stop.step}`;
  const bucket = run % buckets;
  const { shard: from } = await bucketOf(key, bucket);
  const to = from === 's0' ? 's1' : 's0';
  const held = await meet(key, name, { bucket, to }, stop);
  expect((await bucketOf(key, bucket)).shard).toBe(stop.isDecided ? to : from);
  await moveFaults[fault]({ key, name, bucket, from, to, held });
  const status = await waitForEnd(key, name, 180_000);
  // Once the map has decided, there is no way back; before, the attempt may be taken back, and another one succeeds.
  const attempt = stop.isDecided ? { attempt: held.status?.attempt } : {};
  expect(status).toMatchObject({ phase: 'done', ...attempt });
  expect(await bucketOf(key, bucket)).toMatchObject({ shard: to });
  await waitFor(
    'nothing is left of the move',
    async () => {
      const left = await remains(key);
      return left.length === 0 ? { done: true } : { state: left };
    },
    { timeoutMs: 150_000 },
  );
  return status.lastEnding === undefined ? 'went on' : `${status.lastEnding.reason}, then done`;
}
