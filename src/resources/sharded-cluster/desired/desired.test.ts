import { dump } from 'js-yaml';
import { expect, test } from 'vitest';
import { shardedClusterSpec } from '../../../api/v1alpha1/sharded-cluster.ts';
import type { KubernetesObject } from '../../../runtime/kubernetes-object.ts';
import type { ShardedCluster } from '../model.ts';
import { desiredObjects } from './index.ts';

function cluster(spec: Record<string, unknown>, name = 'shop'): ShardedCluster {
  return {
    apiVersion: 'herdsman.dev/v1alpha1',
    kind: 'ShardedCluster',
    metadata: { name, namespace: 'store', uid: '6a2f5b1e-0000-4000-8000-000000000001' },
    spec: shardedClusterSpec.parse(spec),
  };
}

const samples: Readonly<Record<string, ShardedCluster>> = {
  minimal: cluster({ storage: { size: '1Gi' } }),
  full: cluster({
    postgres: { database: 'orders', parameters: { work_mem: '32MB', statement_timeout: '1min' } },
    imagePullSecrets: [{ name: 'registry' }],
    members: 5,
    shards: { count: 2 },
    resources: { requests: { cpu: '2', memory: '8Gi' }, limits: { cpu: '4', memory: '8Gi' } },
    storage: { size: '100Gi', storageClassName: 'fast' },
    durability: 'synchronous',
    placement: {
      antiAffinity: 'required',
      nodeSelector: { 'node.kubernetes.io/pool': 'databases' },
      tolerations: [{ key: 'databases', operator: 'Exists', effect: 'NoSchedule' }],
    },
    tls: { required: false },
  }),
  single: cluster({ members: 1, postgres: { tuning: 'none' }, storage: { size: '10Gi' } }),
};

const image = 'herdsman/postgres:17';

/** The embedded configuration as YAML of its own, so that a difference can be read. */
function readable(objects: readonly KubernetesObject[]): string {
  return objects.map((object) => dump(object, { lineWidth: -1, noRefs: true, sortKeys: true })).join('---\n');
}

// What these files hold is what runs at users': a difference in a StatefulSet restarts their pods, one in the dynamic
// configuration may restart their servers. Change them only for a reason that is worth that.
test.each(Object.keys(samples))('an operator upgrade changes nothing of %s', async (name) => {
  const sample = samples[name] as ShardedCluster;
  await expect(readable(desiredObjects(sample, 0, { image }))).toMatchFileSnapshot(
    `golden/${name}.golden.yaml`,
  );
});

function ofKind(objects: readonly KubernetesObject[], kind: string): KubernetesObject | undefined {
  return objects.find((object) => object.kind === kind);
}

test('parameters, durability and TLS change no pod template, since they are changed through Patroni', () => {
  const changed = cluster({
    storage: { size: '1Gi' },
    postgres: { parameters: { work_mem: '64MB' } },
    durability: 'asynchronous',
    tls: { required: false },
  });
  const before = desiredObjects(samples.minimal as ShardedCluster, 0, { image });
  expect(ofKind(desiredObjects(changed, 0, { image }), 'StatefulSet')).toEqual(ofKind(before, 'StatefulSet'));
});

test('Secrets that the image is pulled with are in the pod template, so that a pod without them is replaced', () => {
  const template = (secrets: Record<string, unknown>) => {
    const objects = desiredObjects(cluster({ storage: { size: '1Gi' }, ...secrets }), 0, { image });
    return ofKind(objects, 'StatefulSet')?.spec;
  };
  expect(template({ imagePullSecrets: [{ name: 'registry' }] })).toMatchObject({
    template: { spec: { imagePullSecrets: [{ name: 'registry' }] } },
  });
  expect(template({ imagePullSecrets: [] })).toStrictEqual(template({}));
});

test('all objects of a shard are owned, labelled and in the namespace of the cluster', () => {
  for (const object of desiredObjects(samples.full as ShardedCluster, 1, { image })) {
    expect(object.metadata).toMatchObject({
      namespace: 'store',
      labels: {
        'app.kubernetes.io/managed-by': 'herdsman',
        'herdsman.dev/cluster': 'shop',
        'herdsman.dev/shard': 's1',
      },
      ownerReferences: [{ kind: 'ShardedCluster', name: 'shop', controller: true }],
    });
  }
});

test('the plan may hold the number of members back', () => {
  const set = ofKind(desiredObjects(samples.full as ShardedCluster, 0, { image, members: 3 }), 'StatefulSet');
  expect(set?.spec).toMatchObject({ replicas: 3 });
});

test('no object holds undefined, which server-side apply could not send', () => {
  for (const sample of Object.values(samples)) {
    const objects = desiredObjects(sample, 0, { image });
    expect(JSON.parse(JSON.stringify(objects))).toStrictEqual(objects);
  }
});
