import { afterAll, beforeAll, expect, it } from 'vitest';
import { readWriteService } from '../../src/resources/sharded-cluster/names.ts';
import type { KubernetesObject } from '../../src/runtime/kubernetes-object.ts';
import { persistentVolumeClaimType, statefulSetType } from '../../src/runtime/kubernetes-types.ts';
import { kube } from '../support/cluster.ts';
import { ledgerMigration, loadShard, type ShardLoad } from '../support/endurance.ts';
import { aStandby, freezeStart } from '../support/faults.ts';
import { kubectl } from '../support/kubectl.ts';
import { query } from '../support/pg.ts';
import { inPod } from '../support/read-replica-set.ts';
import { namespaceForFile } from '../support/scene.ts';
import { followEndpoints } from '../support/service-endpoints.ts';
import {
  applyCluster,
  type ClusterKey,
  type MemberPod,
  memberPods,
  primaryPod,
  readCluster,
  type SpecInput,
  waitForCondition,
  waitUntilReady,
} from '../support/sharded-cluster.ts';
import { waitFor } from '../support/wait.ts';

interface Claim extends KubernetesObject {
  spec?: { resources?: { requests?: { storage?: string } } };
  status?: { capacity?: { storage?: string } };
}

interface Template extends KubernetesObject {
  spec?: { volumeClaimTemplates?: Claim[] };
}

const namespace = namespaceForFile('rollout');
const key: ClusterKey = { namespace, name: 'rolling' };
const target = { namespace, cluster: key.name };
const patient = { timeoutMs: 240_000 };

let spec: Partial<SpecInput> = { members: 3, schema: [ledgerMigration] };
let load: ShardLoad;

beforeAll(async () => {
  await applyCluster(key, spec);
  await waitUntilReady(key, patient);
  load = await loadShard(key);
});

afterAll(async () => {
  await load.load.stop();
});

async function change(changes: Partial<SpecInput>): Promise<void> {
  spec = { ...spec, ...changes };
  await applyCluster(key, spec);
}

async function setting(name: string): Promise<string | undefined> {
  const [row] = await query<{ value: string }>(target, 'SELECT current_setting($1) AS value', [name]);
  return row?.value;
}

const uids = (pods: readonly MemberPod[]) => pods.map((pod) => pod.metadata.uid);

it('changes parameters that need no restart without one', async () => {
  const before = await memberPods(key);
  const server = load.load.server();
  await change({ postgres: { parameters: { work_mem: '7MB' } } });
  await waitUntilReady(key, patient);
  await waitFor('the parameter holds', async () => {
    const value = await setting('work_mem');
    return value === '7MB' ? { done: true } : { state: value };
  });
  expect(uids(await memberPods(key))).toEqual(uids(before));
  expect(load.load.server()).toBe(server);
});

it('changes parameters that need a restart by a switchover, without new pods', async () => {
  const before = await memberPods(key);
  const endpoints = await followEndpoints(namespace, readWriteService(key.name, 's0'));
  await change({ postgres: { parameters: { work_mem: '7MB', max_locks_per_transaction: '80' } } });
  await waitFor(
    'the parameter holds',
    async () => {
      const value = await setting('max_locks_per_transaction');
      return value === '80' ? { done: true } : { state: value };
    },
    patient,
  );
  await waitUntilReady(key, patient);
  const { status } = await readCluster(key);
  expect(status?.shards?.items[0]?.members.filter((member) => member.pendingRestart === true)).toEqual([]);
  expect(uids(await memberPods(key))).toEqual(uids(before));
  endpoints.stop();
  // It led to the old primary until it led to the new one: without an endpoint, clients would lose SYNs.
  expect(endpoints.history().length).toBeGreaterThan(1);
  expect(endpoints.history()).not.toContainEqual([]);
  expect(endpoints.history().at(-1)).toHaveLength(1);
});

it('restarts a standby that was starting when its parameters came', async () => {
  const parameters = { ...spec.postgres?.parameters, max_locks_per_transaction: '96' };
  const standby = await aStandby(key, 's0');
  const { name } = standby.metadata;
  const thaw = await freezeStart(standby);
  try {
    await change({ postgres: { parameters } });
    await waitFor('its Patroni has heard of them', async () => {
      const path = '/var/lib/postgresql/data/pgdata/patroni.dynamic.json';
      const heard = await kubectl(['exec', '-n', namespace, name, '--', 'cat', path]);
      return /"max_locks_per_transaction": "?96/.test(heard) ? { done: true } : { state: heard };
    });
  } finally {
    await thaw();
  }
  for (const pod of await memberPods(key)) {
    await waitFor(
      `${pod.metadata.name} has them`,
      async () => {
        const value = await inPod(namespace, pod.metadata.name, 'SHOW max_locks_per_transaction');
        return value === '96' ? { done: true } : { state: value };
      },
      patient,
    );
  }
  await waitUntilReady(key, patient);
});

it('rolls out new resources: standbys first, the old primary last', async () => {
  const before = await memberPods(key);
  const primary = await primaryPod(key);
  await change({
    resources: { requests: { cpu: '25m', memory: '128Mi' }, limits: { memory: '640Mi' } },
  });
  const gone: string[] = [];
  await waitFor(
    'every pod is new',
    async () => {
      const now = await memberPods(key);
      for (const pod of before) {
        const isThere = now.some((other) => other.metadata.uid === pod.metadata.uid);
        if (!isThere && !gone.includes(pod.metadata.name)) gone.push(pod.metadata.name);
      }
      return gone.length === before.length ? { done: true } : { state: gone };
    },
    patient,
  );
  expect(gone.at(-1)).toBe(primary.metadata.name);
  await waitUntilReady(key, patient);
  const limits = (await memberPods(key)).map((pod) => pod.spec?.containers?.[0]?.resources);
  expect(limits).toEqual(limits.map(() => expect.objectContaining({ limits: { memory: '640Mi' } })));
  expect(await setting('shared_buffers')).toBe('160MB');
});

it('grows the volumes of all members, without new pods', async () => {
  const client = await kube();
  const before = await memberPods(key);
  await change({ storage: { size: '1536Mi' } });
  await waitFor(
    'volumes, and the template of those to come, are larger',
    async () => {
      const { items } = await client.list<Claim>(persistentVolumeClaimType, { namespace });
      const statefulSet = await client.get<Template>(statefulSetType, { namespace, name: 'rolling-s0' });
      const template = statefulSet?.spec?.volumeClaimTemplates?.[0]?.spec?.resources?.requests?.storage;
      const sizes = items.map(({ status }) => status?.capacity?.storage);
      const isDone = [template, ...sizes].every((size) => size === '1536Mi');
      return isDone && sizes.length === 3 ? { done: true } : { state: { template, sizes } };
    },
    patient,
  );
  await waitUntilReady(key, patient);
  expect(uids(await memberPods(key))).toEqual(uids(before));
});

it('keeps serving when the new image cannot be pulled, and goes back', async () => {
  const primary = await primaryPod(key);
  const image = primary.spec?.containers?.[0]?.image ?? '';
  const { postgres } = spec;
  await change({ postgres: { ...postgres, image: 'registry.invalid/none:1' } });
  await waitForCondition(key, { type: 'Degraded', status: 'True', message: /pull/i }, patient);
  expect((await primaryPod(key)).metadata.uid).toBe(primary.metadata.uid);
  const well = (await memberPods(key)).filter((pod) => pod.spec?.containers?.[0]?.image === image);
  expect(well).toHaveLength(2);
  await change({ postgres: { ...postgres } });
  await waitUntilReady(key, patient);
});

it('goes back to the last good parameters when a server does not start with new ones', async () => {
  const { postgres } = spec;
  await change({ postgres: { parameters: { ...postgres?.parameters, shared_buffers: '900GB' } } });
  await waitForCondition(
    key,
    { type: 'ParametersAccepted', status: 'False', message: /does not start|shared_buffers/ },
    patient,
  );
  expect(await setting('shared_buffers')).toBe('160MB');
  await change({ postgres: { ...postgres } });
  await waitUntilReady(key, patient);
});

it('adds a member, and takes away the one that leads', async () => {
  await change({ members: 4 });
  await waitUntilReady(key, patient);
  expect(await memberPods(key)).toHaveLength(4);
  await change({ members: 2, durability: 'asynchronous' });
  await waitFor(
    'two members are left, one of them the primary',
    async () => {
      const names = (await memberPods(key)).map((pod) => pod.metadata.name);
      return names.join() === 'rolling-s0-0,rolling-s0-1' ? { done: true } : { state: names };
    },
    patient,
  );
  await waitUntilReady(key, patient);
  expect((await primaryPod(key)).metadata.name).toMatch(/-[01]$/);
});

it('lost no acknowledged row in all of it', async () => {
  const verdict = await load.finish();
  expect(verdict).toMatchObject({ lost: [], doubled: [], strange: [] });
  expect(verdict.acknowledged).toBeGreaterThan(1000);
});
