import { dump } from 'js-yaml';
import { expect, test } from 'vitest';
import { readReplicaSetSpec } from '../../../../api/v1alpha1/read-replica-set.ts';
import { shardedClusterSpec } from '../../../../api/v1alpha1/sharded-cluster.ts';
import type { ShardedCluster } from '../../../sharded-cluster/model.ts';
import type { ReadReplicaSet } from '../../model.ts';
import { effectiveSettings } from '../../settings.ts';
import { modelObjects } from './objects.ts';

const cluster: ShardedCluster = {
  apiVersion: 'herdsman.dev/v1alpha1',
  kind: 'ShardedCluster',
  metadata: { name: 'shop', namespace: 'store', uid: '6a2f5b1e-0000-4000-8000-000000000001' },
  spec: shardedClusterSpec.parse({ storage: { size: '1Gi' } }),
};
const reports: ReadReplicaSet = {
  apiVersion: 'herdsman.dev/v1alpha1',
  kind: 'ReadReplicaSet',
  metadata: { name: 'reports', namespace: 'store', uid: '6a2f5b1e-0000-4000-8000-000000000002' },
  spec: readReplicaSetSpec.parse({
    cluster: 'shop',
    mode: 'logical',
    logical: { tables: [{ name: 'orders' }] },
    parameters: { 'app.note': "it's" },
  }),
};
const options = {
  image: 'herdsman/postgres:17',
  members: 2,
  parameters: effectiveSettings(reports.spec, cluster).parameters,
};
const objects = modelObjects(reports, cluster, options);

// What this file holds is what runs at users': a difference in a StatefulSet restarts their pods.
test('an operator upgrade changes nothing of a read model', async () => {
  const text = objects
    .map((object) => dump(object, { lineWidth: -1, noRefs: true, sortKeys: true }))
    .join('---\n');
  await expect(text).toMatchFileSnapshot('golden/model.golden.yaml');
});

test('a read model has no part in the election of any shard, and no right in Kubernetes', () => {
  const found = objects.find(({ kind }) => kind === 'StatefulSet') as unknown as {
    spec: { template: { spec: { automountServiceAccountToken: boolean }; metadata: { labels: object } } };
  };
  expect(found.spec.template.spec.automountServiceAccountToken).toBe(false);
  expect(found.spec.template.metadata.labels).toMatchObject({ 'herdsman.dev/scope': 'shop-model' });
  expect(objects.map(({ kind }) => kind)).not.toContain('Role');
});

test('images are pulled with the Secrets of the cluster, unless the set has its own', () => {
  const from = { ...cluster, spec: { ...cluster.spec, imagePullSecrets: [{ name: 'registry' }] } };
  const own = { ...reports, spec: { ...reports.spec, imagePullSecrets: [{ name: 'other' }] } };
  for (const [set, name] of [
    [reports, 'registry'],
    [own, 'other'],
  ] as const) {
    const found = modelObjects(set, from, options).find(({ kind }) => kind === 'StatefulSet');
    expect(found?.spec).toMatchObject({ template: { spec: { imagePullSecrets: [{ name }] } } });
  }
});

test('volumes are kept for the hold period by whatever policy: Kubernetes deletes none', () => {
  const deleting = { ...reports, spec: { ...reports.spec, deletionPolicy: 'delete' as const } };
  const found = modelObjects(deleting, cluster, options).find(({ kind }) => kind === 'StatefulSet');
  expect(found?.spec).toMatchObject({
    persistentVolumeClaimRetentionPolicy: { whenDeleted: 'Retain', whenScaled: 'Retain' },
  });
});
