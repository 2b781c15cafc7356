import { beforeAll, expect, it } from 'vitest';
import { endure, ledgerMigration } from '../support/endurance.ts';
import { type FaultName, faultOf } from '../support/faults.ts';
import { namespaceForFile } from '../support/scene.ts';
import { applyCluster, type ClusterKey, readCluster, waitUntilReady } from '../support/sharded-cluster.ts';

// Faults that touch one pod only, so that other files can run beside this one. The others are in test/chaos.

const namespace = namespaceForFile('failover');
const key: ClusterKey = { namespace, name: 'hardy' };

beforeAll(async () => {
  await applyCluster(key, { members: 3, schema: [ledgerMigration] });
  await waitUntilReady(key);
});

it.each<FaultName>([
  'primary pod deleted by force',
  'primary postgres killed',
  'standby pod deleted by force',
])('%s: no acknowledged row is lost', async (name) => {
  const { verdict, writeGapMs } = await endure(key, faultOf(name));
  console.log(`${name}: write gap ${Math.round(writeGapMs)} ms, ${verdict.acknowledged} rows acknowledged`);
  expect(verdict).toMatchObject({ lost: [], doubled: [], strange: [] });
  const { status } = await readCluster(key);
  expect(status?.shards?.items[0]?.members.filter(({ role }) => role === 'primary')).toHaveLength(1);
});
