import { beforeAll, expect, it } from 'vitest';
import type { KubernetesObject } from '../../src/runtime/kubernetes-object.ts';
import { leaseType, podType } from '../../src/runtime/kubernetes-types.ts';
import { isLocalCluster, kube } from '../support/cluster.ts';
import { ensureImages, installOperator, operatorNamespace } from '../support/operator.ts';
import { isWrite, listenToOperator } from '../support/requests.ts';
import { namespaceForFile } from '../support/scene.ts';
import { applyCluster, type ClusterKey, memberPods, waitUntilReady } from '../support/sharded-cluster.ts';
import { waitFor } from '../support/wait.ts';

const namespace = await namespaceForFile('operator');
const key: ClusterKey = { namespace, name: 'quiet' };

interface Lease extends KubernetesObject {
  spec?: { holderIdentity?: string };
}

beforeAll(async () => {
  await applyCluster(key, { members: 2 });
  await waitUntilReady(key);
});

async function holder(): Promise<string> {
  const lease = await (await kube()).get<Lease>(leaseType, {
    namespace: operatorNamespace,
    name: 'herdsman',
  });
  return lease?.spec?.holderIdentity ?? '';
}

/** The pod that works; the identity begins with its name. */
async function leader(): Promise<string> {
  return waitFor('a pod of the operator leads', async () => {
    const identity = await holder();
    const { items } = await (await kube()).list(podType, { namespace: operatorNamespace });
    const pod = items.find(({ metadata }) => identity.startsWith(metadata.name));
    return pod === undefined ? { state: identity } : { done: pod.metadata.name };
  });
}

it('goes on in another pod when the leader is killed', async () => {
  const before = await leader();
  await (await kube()).delete(
    podType,
    { namespace: operatorNamespace, name: before },
    { gracePeriodSeconds: 0 },
  );
  await applyCluster(key, { members: 2, postgres: { parameters: { work_mem: '6MB' } } });
  await waitFor('another leader', async () => {
    const now = await leader();
    return now === before ? { state: now } : { done: now };
  });
  await waitUntilReady(key);
});

it('restarts no member when it is upgraded', async () => {
  const before = await memberPods(key);
  const versions = (pods: typeof before) =>
    pods.map(({ metadata, status }) => [
      metadata.uid,
      status?.containerStatuses?.map((one) => one.restartCount),
    ]);
  const leaderBefore = await leader();
  const images = await ensureImages();
  await installOperator(images, `podAnnotations.upgraded=${Date.now()}`);
  await waitFor('a new pod leads', async () => {
    const now = await leader();
    return now === leaderBefore ? { state: now } : { done: now };
  });
  // The new leader has looked at the cluster when it has acted on a change made after it began.
  await applyCluster(key, { members: 2, postgres: { parameters: { work_mem: '5MB' } } });
  await waitUntilReady(key);
  expect(versions(await memberPods(key))).toEqual(versions(before));
});

it('writes nothing while nothing changes', async () => {
  expect(isLocalCluster()).toBe(true);
  await waitUntilReady(key);
  const requests = listenToOperator();
  const begun = performance.now();
  await waitFor('half a minute of quiet', () =>
    performance.now() - begun > 30_000 ? { done: true } : { state: 'waiting' },
  );
  const ours = requests().filter((request) => request.namespace === namespace);
  expect(ours.filter(isWrite)).toEqual([]);
});
