import { dump } from 'js-yaml';
import { expect, test } from 'vitest';
import { readReplicaSetSpec } from '../../../api/v1alpha1/read-replica-set.ts';
import { shardedClusterSpec } from '../../../api/v1alpha1/sharded-cluster.ts';
import type { KubernetesObject } from '../../../runtime/kubernetes-object.ts';
import type { ShardedCluster } from '../../sharded-cluster/model.ts';
import { memberSelector } from '../../sharded-cluster/names.ts';
import type { ReadReplicaSet } from '../model.ts';
import { effectiveSettings } from '../settings.ts';
import { desiredObjects } from './index.ts';

const cluster: ShardedCluster = {
  apiVersion: 'herdsman.dev/v1alpha1',
  kind: 'ShardedCluster',
  metadata: { name: 'shop', namespace: 'store', uid: '6a2f5b1e-0000-4000-8000-000000000001' },
  spec: shardedClusterSpec.parse({ storage: { size: '1Gi' } }),
};

function readers(spec: Record<string, unknown>): ReadReplicaSet {
  return {
    apiVersion: 'herdsman.dev/v1alpha1',
    kind: 'ReadReplicaSet',
    metadata: { name: 'readers', namespace: 'store', uid: '6a2f5b1e-0000-4000-8000-000000000002' },
    spec: readReplicaSetSpec.parse({ cluster: 'shop', ...spec }),
  };
}

const samples: Readonly<Record<string, ReadReplicaSet>> = {
  minimal: readers({}),
  analytics: readers({
    workload: 'analytics',
    source: 'cascade',
    distribution: 'nearest',
    imagePullSecrets: [{ name: 'registry' }],
    resources: { requests: { cpu: '2', memory: '8Gi' }, limits: { memory: '8Gi' } },
    storage: { size: '200Gi', storageClassName: 'fast' },
    parameters: { work_mem: '256MB' },
    maxCloneRate: '64Mi',
    drainGrace: '5m',
    deletionPolicy: 'delete',
  }),
  delayed: readers({ workload: 'delayed', applyDelay: '4h', source: 'standby' }),
};

function objectsOf(set: ReadReplicaSet, byPrimary = false, of = cluster): KubernetesObject[] {
  return desiredObjects(set, of, 's0', {
    image: 'herdsman/postgres:17',
    members: 2,
    parameters: effectiveSettings(set.spec, cluster).parameters,
    upstream: set.spec.source === 'standby' ? 'shop-s0-1' : undefined,
    byPrimary,
  });
}

// What these files hold is what runs at users': a difference in a StatefulSet restarts their pods.
test.each(Object.keys(samples))('an operator upgrade changes nothing of %s', async (name) => {
  const objects = objectsOf(samples[name] as ReadReplicaSet);
  const text = objects
    .map((object) => dump(object, { lineWidth: -1, noRefs: true, sortKeys: true }))
    .join('---\n');
  await expect(text).toMatchFileSnapshot(`golden/${name}.golden.yaml`);
});

function selectors(object: KubernetesObject): Record<string, string> | undefined {
  const { selector } = (object.spec ?? {}) as {
    selector?: Record<string, string> & { matchLabels?: Record<string, string> };
  };
  return selector?.matchLabels ?? selector;
}

test('nothing of a set selects the members of its shard, but for the primary when it stands in', () => {
  const ofShard = memberSelector('shop', 's0');
  const isOfShard = (object: KubernetesObject) =>
    Object.entries(selectors(object) ?? {}).some(([key, value]) => ofShard[key] === value);
  expect(objectsOf(readers({})).filter(isOfShard)).toEqual([]);
  expect(
    objectsOf(readers({}), true)
      .filter(isOfShard)
      .map(({ metadata }) => metadata.name),
  ).toEqual(['readers-s0-read']);
});

test('parameters, lag and source change no pod template', () => {
  const template = (set: ReadReplicaSet) => objectsOf(set).find(({ kind }) => kind === 'StatefulSet')?.spec;
  expect(
    template(readers({ parameters: { work_mem: '1GB' }, lag: { maxSeconds: 1 }, source: 'cascade' })),
  ).toEqual(template(readers({})));
});

test('images are pulled with the Secrets of the cluster, unless the set has its own', () => {
  const spec = { ...cluster.spec, imagePullSecrets: [{ name: 'registry' }] };
  const template = (own: Record<string, unknown>, of: typeof cluster = { ...cluster, spec }) =>
    objectsOf(readers(own), false, of).find(({ kind }) => kind === 'StatefulSet')?.spec;
  const pulledWith = (...names: readonly string[]) => ({
    template: { spec: { imagePullSecrets: names.map((name) => ({ name })) } },
  });
  expect(template({})).toMatchObject(pulledWith('registry'));
  expect(template({ imagePullSecrets: [{ name: 'other' }] })).toMatchObject(pulledWith('other'));
  expect(template({ imagePullSecrets: [] })).toStrictEqual(template({}, cluster));
});

test('no object holds undefined, which server-side apply could not send', () => {
  for (const set of Object.values(samples)) {
    const objects = objectsOf(set);
    expect(JSON.parse(JSON.stringify(objects))).toStrictEqual(objects);
  }
});
