import type { z } from 'zod';
import { apiVersion } from '../../../api/v1alpha1/common.ts';
import { type ShardedClusterStatus, shardedClusterSpec } from '../../../api/v1alpha1/sharded-cluster.ts';
import type { DatabaseFacts } from '../database-facts.ts';
import type { Observed, ObservedShard, PlanInput, ShardedCluster } from '../model.ts';
import { shardIndex, shardName } from '../names.ts';
import { chooseShards, withChoice } from '../shard-choice.ts';
import { secretNames } from '../steps/identity.ts';
import { wantedNames } from '../wanted-shards.ts';

/** `spec` as a user writes it. */
export type SpecSketch = Partial<z.input<typeof shardedClusterSpec>>;

/** The time at which tests plan. */
export const now = new Date('2026-01-10T00:00:00Z');

/** A ShardedCluster `shop` in namespace `shop`. */
export function shardedCluster(spec: SpecSketch = {}, status?: ShardedClusterStatus): ShardedCluster {
  return {
    apiVersion,
    kind: 'ShardedCluster',
    metadata: { name: 'shop', namespace: 'shop', uid: 'uid-of-shop', generation: 1 },
    spec: shardedClusterSpec.parse({ storage: { size: '1Gi' }, ...spec }),
    ...(status === undefined ? {} : { status }),
  };
}

/** A world in which nothing of the cluster is there. */
export function emptyWorld(cluster: ShardedCluster): PlanInput {
  const names = wantedNames(cluster);
  return {
    cluster,
    settings: { postgresImage: 'postgres:17' },
    now,
    observed: {
      shards: names.map((name) => absentShard(shardIndex(name) ?? 0)),
      map: { state: 'absent' },
      secrets: new Map(secretNames(cluster, names).map((name) => [name, { state: 'absent' }])),
      migrations: new Map(
        cluster.spec.schema.map(({ name, sql }) => [
          name,
          sql === undefined ? { state: 'absent' } : { state: 'present', value: sql },
        ]),
      ),
      objects: new Map(),
    },
  };
}

/** A shard of which nothing is there yet. */
export function absentShard(index: number): ObservedShard {
  return {
    name: shardName(index),
    index,
    statefulSet: undefined,
    settled: false,
    members: [],
    claims: [],
    group: { state: 'absent' },
    config: { state: 'absent' },
    abandonedClaim: undefined,
    failedStarts: [],
    strays: [],
    staleCertificates: [],
    database: { state: 'absent' },
  };
}

/** The same world with something of what was observed changed. */
export function observing(input: PlanInput, change: Partial<Observed>): PlanInput {
  return { ...input, observed: { ...input.observed, ...change } };
}

/** The same world under another spec or status. */
export function wanting(input: PlanInput, spec: SpecSketch, status?: ShardedClusterStatus): PlanInput {
  const { shards, secrets, map } = input.observed;
  const asked = shardedCluster(spec, status);
  const known = map.state === 'present' ? map.value.spec : undefined;
  const choice = chooseShards({ spec: asked.spec, status, map: known });
  const chosen = status === undefined ? undefined : withChoice(status, choice);
  const next = emptyWorld(shardedCluster(spec, chosen));
  const added = next.observed.shards.filter(({ name }) => !shards.some((shard) => shard.name === name));
  return {
    ...input,
    cluster: next.cluster,
    observed: {
      ...input.observed,
      shards: [...shards, ...added].sort((a, b) => a.index - b.index),
      secrets: new Map([...next.observed.secrets, ...secrets]),
      migrations: next.observed.migrations,
    },
  };
}

/** The same world with something of one shard changed. */
export function withShard(input: PlanInput, name: string, change: Partial<ObservedShard>): PlanInput {
  return observing(input, {
    shards: input.observed.shards.map((shard) => (shard.name === name ? { ...shard, ...change } : shard)),
  });
}

/** The same world with something of what a shard's primary says changed. */
export function withFacts(input: PlanInput, name: string, change: Partial<DatabaseFacts>): PlanInput {
  const { database } = shardOf(input, name);
  if (database.state !== 'present') throw new Error(`the primary of ${name} does not answer`);
  return withShard(input, name, { database: { state: 'present', value: { ...database.value, ...change } } });
}

/** A shard by its name. */
export function shardOf(input: PlanInput, name: string): ObservedShard {
  const found = input.observed.shards.find((shard) => shard.name === name);
  if (found === undefined) throw new Error(`there is no shard ${name}`);
  return found;
}
