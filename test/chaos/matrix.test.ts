import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { endure, ledgerMigration } from '../support/endurance.ts';
import { type FaultName, faultNames, faultOf } from '../support/faults.ts';
import { createNamespace, deleteNamespace } from '../support/namespace.ts';
import { applyCluster, type ClusterKey, readCluster, waitUntilReady } from '../support/sharded-cluster.ts';
import { choose, isWhole, seed } from './choice.ts';

// Every fault against every kind of durable commit, under writers. In a run of everything three of them, chosen by the seed.

const durabilities = ['quorum', 'synchronous'] as const;
type Durability = (typeof durabilities)[number];

const all = durabilities.flatMap((durability) => faultNames.map((fault) => ({ durability, fault })));
const chosen = isWhole ? all : choose(all, 3, seed);

for (const durability of durabilities) {
  const scenarios = chosen.filter((scenario) => scenario.durability === durability).map(({ fault }) => fault);
  if (scenarios.length > 0) describe(`${durability} commit`, () => withstands(durability, scenarios));
}

function withstands(durability: Durability, scenarios: readonly FaultName[]): void {
  let key: ClusterKey;

  beforeAll(async () => {
    key = { namespace: await createNamespace('chaos'), name: 'hardy' };
    await applyCluster(key, { members: 3, durability, schema: [ledgerMigration] });
    await waitUntilReady(key);
  });

  afterAll(() => deleteNamespace(key.namespace));

  it.each(scenarios)('%s', async (name) => {
    const { verdict, writeGapMs, errors } = await endure(key, faultOf(name));
    console.log(
      `${durability}, ${name}: write gap ${Math.round(writeGapMs)} ms, ${verdict.acknowledged} acknowledged`,
    );
    expect(verdict, JSON.stringify([...errors])).toMatchObject({ lost: [], doubled: [], strange: [] });
    const { status } = await readCluster(key);
    expect(status?.shards?.items[0]?.members.filter(({ role }) => role === 'primary')).toHaveLength(1);
  });
}
