import { beforeAll, describe, expect, it } from 'vitest';
import { secretType } from '../../src/runtime/kubernetes-types.ts';
import { kube } from '../support/cluster.ts';
import { apply, kubectl, refusal } from '../support/kubectl.ts';
import {
  applyPooler,
  connectPooler,
  type PoolerKey,
  type PoolerSpecInput,
  poolerClientConfig,
  poolerPods,
  readPooler,
  waitForPooler,
  waitForPoolerCondition,
  waitUntilPooling,
} from '../support/pooler-config.ts';
import { namespaceForFile } from '../support/scene.ts';
import {
  applyCluster,
  type ClusterKey,
  isReady,
  memberPods,
  shardedClusterType,
  waitUntilReady,
} from '../support/sharded-cluster.ts';
import { waitUntil } from '../support/wait.ts';

const namespace = namespaceForFile('pooler-bad-input');
const cluster: ClusterKey = { namespace, name: 'shop' };
const key: PoolerKey = { namespace, name: 'web', cluster: 'shop' };
const good: Partial<PoolerSpecInput> = { replicas: 1 };

beforeAll(async () => {
  await applyCluster(cluster);
  await applyPooler(key, good);
  await waitUntilReady(cluster);
  await waitUntilPooling(key);
});

/** What ran before goes on as it was. */
async function expectPooling(): Promise<void> {
  const client = await connectPooler(await poolerClientConfig(key));
  await client.query('SELECT 1');
  await client.end();
}

describe('the API server refuses', () => {
  const target = { cluster: 'shop' };
  const long = 'a'.repeat(41);

  it.each<[string, Record<string, unknown>, string]>([
    ['no target', {}, 'spec.target: Required value'],
    ['a target without a cluster', { target: {} }, 'spec.target.cluster: Required value'],
    ['another role', { target: { cluster: 'shop', role: 'wo' } }, 'supported values: "rw", "ro"'],
    [
      'writes to a ReadReplicaSet',
      { target: { cluster: 'shop', readReplicaSet: 'r' } },
      'write "role: ro" beside',
    ],
    ['no instance', { target, replicas: 0 }, 'greater than or equal to 1'],
    ['too many instances', { target, replicas: 33 }, 'less than or equal to 32'],
    [
      'another pool mode',
      { target, poolMode: 'sesion' },
      'supported values: "transaction", "session", "statement"',
    ],
    ['a pool size with sizing auto', { target, poolSize: 5 }, 'poolSize belongs to sizing "manual"'],
    ['sizing manual without a size', { target, sizing: 'manual' }, 'poolSize belongs to sizing "manual"'],
    [
      'a least pool over the pool',
      { target, sizing: 'manual', poolSize: 5, minPoolSize: 6 },
      'minPoolSize is more than poolSize',
    ],
    ['a duration in words', { target, maxPause: 'long' }, 'spec.maxPause'],
    ['a setting that Herdsman makes', { target, parameters: { auth_type: 'trust' } }, 'remove "auth_type"'],
    ['a setting in capitals', { target, parameters: { Verbose: '1' } }, 'in lower case with "_"'],
    [
      'a setting with a new line',
      { target, parameters: { verbose: '1\nauth_type = any' } },
      'spec.parameters',
    ],
    ['a reset query with a new line', { target, serverResetQuery: 'DISCARD ALL\n' }, 'spec.serverResetQuery'],
    [
      'one database twice',
      { target, databases: [{ name: 'app' }, { name: 'app' }] },
      'duplicate entries for key',
    ],
    ['a user with a space', { target, users: [{ name: 'a b' }] }, 'spec.users[0].name'],
    [
      'fewest over most instances',
      { target, autoscaling: { minReplicas: 4, maxReplicas: 3 } },
      'minReplicas is more',
    ],
    [
      'who may come to a load balancer that is not there',
      { target, service: { loadBalancerSourceRanges: ['10.0.0.0/8'] } },
      'belong to type "LoadBalancer"',
    ],
    [
      'an address where a range is wanted',
      { target, service: { type: 'LoadBalancer', loadBalancerSourceRanges: ['10.0.0.1'] } },
      'write an address range, such as 10.0.0.0/8',
    ],
    [
      'traffic from outside for a Service that has none',
      { target, service: { externalTrafficPolicy: 'Local' } },
      'belongs to type "NodePort" or "LoadBalancer"',
    ],
    [
      "annotations of the operator's",
      { target, service: { annotations: { 'herdsman.dev/applied': 'x' } } },
      'use other ones',
    ],
    ['a URL in the place of a name', { target, service: { names: ['https://db'] } }, 'spec.service.names[0]'],
    ['a target with a long name', { target: { cluster: long } }, 'Too long'],
  ])('%s', async (_, spec, says) => {
    const object = {
      apiVersion: 'herdsman.dev/v1alpha1',
      kind: 'PoolerConfig',
      metadata: { name: 'bad' },
      spec,
    };
    expect(await refusal(object, { namespace })).toContain(says);
  });

  it('a name that is too long for a Service, and another target for a pooler that is there', async () => {
    const object = (name: string, spec: object) => ({
      apiVersion: 'herdsman.dev/v1alpha1',
      kind: 'PoolerConfig',
      metadata: { name },
      spec,
    });
    expect(await refusal(object(long, { target }), { namespace })).toContain('may have 40 characters');
    expect(await refusal(object('1st', { target }), { namespace })).toContain('starts with a letter');
    expect(await refusal(object(key.name, { target: { cluster: 'other' } }), { namespace })).toContain(
      'a PoolerConfig keeps its target',
    );
  });

  it('another class of a load balancer', async () => {
    const balanced = (name: string) => ({
      apiVersion: 'herdsman.dev/v1alpha1',
      kind: 'PoolerConfig',
      metadata: { name: 'balanced' },
      spec: { target: { cluster: 'nobody' }, service: { type: 'LoadBalancer', loadBalancerClass: name } },
    });
    await apply(balanced('example.com/one'), { namespace });
    expect(await refusal(balanced('example.com/two'), { namespace })).toContain(
      'write type "ClusterIP" first',
    );
  });
});

describe('a condition tells, and poolers go on', () => {
  it.each<[string, Partial<PoolerSpecInput>, string, RegExp]>([
    [
      'a setting that PgBouncer does not know',
      { parameters: { server_chek_delay: '10' } },
      'UnknownParameter',
      /no setting "server_chek_delay": did you mean "server_check_delay"\?/,
    ],
    [
      'a value that a setting does not take',
      { parameters: { server_check_delay: 'abc' } },
      'InvalidParameter',
      /"abc" is no value for server_check_delay: write seconds without a unit/,
    ],
    [
      'pools that do not fit',
      { sizing: 'manual', poolSize: 60, replicas: 2 },
      'PoolsDoNotFit',
      /max_connections \d+ of shard s0 - 3 reserved by PostgreSQL - 10 reserved by spec.reservedConnections leaves \d+ for 2 instances x 1 database, and 124 are needed: lower poolSize, replicas or reservedConnections, or raise max_connections/,
    ],
    [
      'settings of a database that is not there',
      { databases: [{ name: 'app_s7', poolMode: 'session' }] },
      'UnknownDatabase',
      /"app_s7", and there is only app:/,
    ],
  ])('%s', async (_, spec, reason, message) => {
    const [before] = await poolerPods(key);
    const sizes = (await readPooler(key)).status?.databases;
    await applyPooler(key, { ...good, ...spec });
    const pooler = await waitForPoolerCondition(key, { type: 'Degraded', status: 'True', reason, message });
    expect(pooler.status?.databases).toEqual(sizes);
    expect(pooler.status?.conditions).toContainEqual(
      expect.objectContaining({ type: 'Ready', status: 'True' }),
    );
    await expectPooling();
    await applyPooler(key, good);
    await waitUntilPooling(key);
    expect((await poolerPods(key)).map(({ metadata }) => metadata.uid)).toEqual([before?.metadata.uid]);
  });

  it.each<[string, PoolerSpecInput['target'], string, RegExp]>([
    ['no such cluster', { cluster: 'nowhere' }, 'TargetNotFound', /no ShardedCluster "nowhere" in namespace/],
    ['no standby to read', { cluster: 'shop', role: 'ro' }, 'NoStandby', /raise its spec.members/],
    [
      'no such ReadReplicaSet',
      { cluster: 'shop', role: 'ro', readReplicaSet: 'readers' },
      'TargetNotFound',
      /no ReadReplicaSet "readers"/,
    ],
  ])('%s', async (_, target, reason, message) => {
    const other: PoolerKey = { namespace, name: `other-${reason.toLowerCase()}`, cluster: target.cluster };
    await applyPooler(other, { target });
    await waitForPoolerCondition(other, { type: 'Degraded', status: 'True', reason, message });
    await kubectl(['delete', 'poolerconfig', other.name, '-n', namespace]);
  });

  it('a Secret without a key, until it is whole again', async () => {
    const secret = { namespace, name: 'web-pooler-admin' };
    const client = await kube();
    const whole = await client.get<
      { data?: Record<string, string> } & Awaited<ReturnType<typeof readPooler>>
    >(secretType, secret);
    await client.patch(secretType, secret, { data: { users: null } }, { type: 'merge' });
    await applyPooler(key, { ...good, maxClientConnections: 900 });
    await waitForPoolerCondition(key, {
      type: 'Degraded',
      status: 'True',
      reason: 'SecretIncomplete',
      message: /"web-pooler-admin" needs the keys "users" and "admin-password": delete it/,
    });
    await expectPooling();
    await client.patch(secretType, secret, { data: { users: whole?.data?.users } }, { type: 'merge' });
    await waitUntilPooling(key);
    await expectPooling();
  });
});

it('LISTEN in transaction mode is a warning that says what to do', async () => {
  const client = await connectPooler(await poolerClientConfig(key));
  await client.query('LISTEN orders');
  await waitForPooler(key, 'the warning', ({ conditions = [] }) =>
    conditions.some(
      ({ type, status, message }) =>
        type === 'PoolModeFits' && status === 'False' && /use LISTEN.*poolMode "session"/.test(message),
    ),
  );
  await client.end();
});

// The last one: nothing is behind the poolers any more.
it('a cluster that is deleted is told of, and the poolers that run stay', async () => {
  const before = await poolerPods(key);
  await (await kube()).delete(shardedClusterType, cluster);
  await waitUntil('its pods are gone', async () => (await memberPods(cluster)).length === 0);
  const pooler = await waitForPoolerCondition(key, {
    type: 'Degraded',
    status: 'True',
    reason: 'TargetNotFound',
    message: /no ShardedCluster "shop" in namespace .*: create it, or make a PoolerConfig with another/,
  });
  expect(Object.keys(pooler.status?.primaries ?? {})).toEqual([]);
  const pods = await poolerPods(key);
  expect(pods.map(({ metadata }) => metadata.uid)).toEqual(before.map(({ metadata }) => metadata.uid));
  expect(pods.map(isReady)).toEqual(pods.map(() => true));
});
