import { beforeAll, expect, it } from 'vitest';
import { podType } from '../../src/runtime/kubernetes-types.ts';
import { isLocalCluster, kube } from '../support/cluster.ts';
import { leaderPod, waitForSuccessor } from '../support/leader.ts';
import { ensureImages, installOperator, operatorNamespace } from '../support/operator.ts';
import { isWrite, listenToOperator } from '../support/requests.ts';
import { namespaceForFile } from '../support/scene.ts';
import { applyCluster, type ClusterKey, memberPods, waitUntilReady } from '../support/sharded-cluster.ts';
import { waitFor } from '../support/wait.ts';

const namespace = await namespaceForFile('operator');
const key: ClusterKey = { namespace, name: 'quiet' };

beforeAll(async () => {
  await applyCluster(key, { members: 2 });
  await waitUntilReady(key);
});

it('goes on in another pod when the leader is killed', async () => {
  const before = await leaderPod();
  await (await kube()).delete(
    podType,
    { namespace: operatorNamespace, name: before.metadata.name },
    { gracePeriodSeconds: 0 },
  );
  await applyCluster(key, { members: 2, postgres: { parameters: { work_mem: '6MB' } } });
  await waitForSuccessor(before);
  await waitUntilReady(key);
});

it('restarts no member when it is upgraded', async () => {
  const before = await memberPods(key);
  const versions = (pods: typeof before) =>
    pods.map(({ metadata, status }) => [
      metadata.uid,
      status?.containerStatuses?.map((one) => one.restartCount),
    ]);
  const leaderBefore = await leaderPod();
  const images = await ensureImages();
  await installOperator(images, `podAnnotations.upgraded=${Date.now()}`);
  await waitForSuccessor(leaderBefore);
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
