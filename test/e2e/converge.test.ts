import { readFileSync } from 'node:fs';
import pg from 'pg';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  configMapType,
  persistentVolumeClaimType,
  podDisruptionBudgetType,
  secretType,
  statefulSetType,
} from '../../src/runtime/kubernetes-types.ts';
import { kube, root } from '../support/cluster.ts';
import { kubectl } from '../support/kubectl.ts';
import { applicationConfig, query, readSecret } from '../support/pg.ts';
import { namespaceForFile } from '../support/scene.ts';
import {
  applyCluster,
  type ClusterKey,
  eventsOf,
  memberPods,
  primaryPod,
  readCluster,
  shardMapType,
  waitUntilReady,
} from '../support/sharded-cluster.ts';
import { waitFor } from '../support/wait.ts';

const namespace = namespaceForFile('converge');
const minimal: ClusterKey = { namespace, name: 'minimal' };
const wide: ClusterKey = { namespace, name: 'wide' };

beforeAll(async () => {
  await applyCluster(wide, { members: 3, shards: { count: 2, zones: ['zone-a', 'zone-b'] } });
});

describe('the minimal sample', () => {
  beforeAll(async () => {
    const sample = readFileSync(`${root}deploy/samples/minimal.yaml`, 'utf8');
    await kubectl(['apply', '-n', namespace, '-f', '-'], sample);
    await waitUntilReady(minimal);
  });

  it('has one primary and two streaming standbys, as its status says', async () => {
    const { status } = await readCluster(minimal);
    expect(status?.phase).toBe('Ready');
    expect(status?.shards).toMatchObject({ desired: 1, current: 1, ready: 1 });
    expect(status?.members).toMatchObject({ desired: 3, ready: 3 });
    const shard = await waitFor('the status says what every member does', async () => {
      const [found] = (await readCluster(minimal)).status?.shards?.items ?? [];
      const isKnown = found?.members.every((member) => member.ready && member.timeline === 1);
      return found !== undefined && isKnown === true ? { done: found } : { state: found };
    });
    expect(shard).toMatchObject({ name: 's0', ready: true, readyMembers: 3, timeline: 1 });
    expect(shard.members.map(({ role }) => role).toSorted()).toEqual(['primary', 'standby', 'standby']);
    expect(shard.primary).toBe((await primaryPod(minimal)).metadata.name);
    expect(shard.sizeBytes).toBeGreaterThan(0);
  });

  it('answers kubectl wait, and has a value in every printer column', async () => {
    await kubectl([
      'wait',
      '-n',
      namespace,
      '--for=condition=Ready',
      'shardedcluster/minimal',
      '--timeout=30s',
    ]);
    const [header = '', row = ''] = (await kubectl(['get', 'shc', '-n', namespace, 'minimal'])).split('\n');
    const columns = header.trim().split(/\s{2,}/);
    expect(row.trim().split(/\s{2,}/)).toHaveLength(columns.length);
    expect(row).not.toMatch(/<none>|<unknown>|<invalid>/);
  });

  it('spreads its members over the zones', async () => {
    const pods = await memberPods(minimal);
    expect(new Set(pods.map((pod) => pod.spec?.nodeName)).size).toBe(3);
  });

  it('commits on a quorum', async () => {
    const rows = await query<{ setting: string }>(
      { namespace, cluster: 'minimal' },
      `SELECT current_setting('synchronous_standby_names') AS setting`,
    );
    expect(rows[0]?.setting).toMatch(/^ANY 1/);
  });

  it('reads from standbys by its -ro Service', async () => {
    const rows = await query<{ standby: boolean }>(
      { namespace, cluster: 'minimal', service: 'ro' },
      'SELECT pg_is_in_recovery() AS standby',
    );
    expect(rows).toEqual([{ standby: true }]);
  });

  it.each(['minimal-app', 'minimal-monitoring'])(
    'keeps everything that a client needs in Secret %s',
    async (name) => {
      const secret = await readSecret(namespace, name);
      const { username, password, host, port, dbname } = secret;
      expect(password?.length).toBeGreaterThanOrEqual(20);
      expect({ host, port, dbname }).toEqual({
        host: `minimal-s0-rw.${namespace}.svc`,
        port: '5432',
        dbname: 'app',
      });
      const uri = new URL(secret.uri ?? '');
      expect([uri.protocol, uri.username, decodeURIComponent(uri.password), uri.pathname]).toEqual([
        'postgresql:',
        username,
        password,
        '/app',
      ]);
      expect(secret['jdbc-uri']).toMatch(/^jdbc:postgresql:\/\//);
      expect(secret['ca.crt']).toMatch(/BEGIN CERTIFICATE/);
      const client = new pg.Client(await applicationConfig({ namespace, cluster: 'minimal' }, name));
      await client.connect();
      await client.end();
    },
  );

  it('accepts TLS only, with a certificate of its own authority, and the right password', async () => {
    const config = await applicationConfig({ namespace, cluster: 'minimal' });
    const { ca, ...withoutAuthority } = config.ssl as { ca: string; servername: string };
    const attempt = async (changed: pg.ClientConfig): Promise<void> => {
      await new pg.Client({ ...config, ...changed }).connect();
    };
    expect(ca).toBeTruthy();
    await expect(attempt({ ssl: false })).rejects.toThrow(/no encryption/);
    await expect(attempt({ ssl: withoutAuthority })).rejects.toThrow(/certificate/);
    await expect(attempt({ ssl: { ca, servername: 'elsewhere.example' } })).rejects.toThrow(
      /altnames|Hostname/i,
    );
    await expect(attempt({ password: 'wrong' })).rejects.toThrow(/password authentication failed/);
    await expect(attempt({ user: 'postgres' })).rejects.toThrow(/pg_hba|authentication/);
    await expect(attempt({ user: 'herdsman' })).rejects.toThrow(/certificate/);
  });

  it('gives the application no more than its own database', async () => {
    const rows = await query(
      { namespace, cluster: 'minimal' },
      `SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls FROM pg_roles WHERE rolname = current_user`,
    );
    expect(rows).toEqual([
      {
        rolsuper: false,
        rolcreatedb: false,
        rolcreaterole: false,
        rolreplication: false,
        rolbypassrls: false,
      },
    ]);
    await query({ namespace, cluster: 'minimal' }, 'CREATE TABLE mine (id int); DROP TABLE mine');
  });

  it('may be evicted one member at a time', async () => {
    const budget = await (await kube()).get(podDisruptionBudgetType, { namespace, name: 'minimal-s0' });
    expect(budget?.spec).toMatchObject({ maxUnavailable: 1 });
  });

  it('lets data outlive it: claims, Secrets, the map and the state of Patroni have no owner', async () => {
    const client = await kube();
    const selection = { namespace, labelSelector: 'herdsman.dev/cluster=minimal' };
    const lists = await Promise.all(
      [persistentVolumeClaimType, secretType, shardMapType].map((type) => client.list(type, selection)),
    );
    const kept = lists.flatMap(({ items }) => items);
    expect(kept.length).toBeGreaterThanOrEqual(3 + 4 + 1);
    const leader = await client.get(configMapType, { namespace, name: 'minimal-s0-config' });
    const owned = [...kept, ...(leader === undefined ? [] : [leader])].filter(
      (object) => (object.metadata.ownerReferences ?? []).length > 0,
    );
    expect(leader).toBeDefined();
    expect(owned.map((object) => object.metadata.name)).toEqual([]);
    const statefulSet = await client.get(statefulSetType, { namespace, name: 'minimal-s0' });
    expect(statefulSet?.metadata.ownerReferences).toMatchObject([
      { kind: 'ShardedCluster', name: 'minimal' },
    ]);
  });

  it('tells by events what it did', async () => {
    const events = await eventsOf(minimal);
    expect(events.length).toBeGreaterThan(0);
    expect(events.filter((event) => event.type === 'Warning').map((event) => event.message)).toEqual([]);
  });
});

describe('a number of shards', () => {
  const grown: ClusterKey = { namespace, name: 'grown' };

  it('grows by kubectl scale, and the new shard is empty', async () => {
    await applyCluster(grown);
    await waitUntilReady(grown);
    await kubectl(['scale', '-n', namespace, 'shardedcluster/grown', '--replicas=2']);
    await waitUntilReady(grown);
    const { status } = await readCluster(grown);
    expect(status?.shards).toMatchObject({ desired: 2, ready: 2 });
    expect(Object.values(status?.shards?.items[1]?.buckets ?? {}).filter((count) => count > 0)).toEqual([]);
  });

  it('shrinks when a shard is empty, and keeps its volume', async () => {
    await kubectl(['scale', '-n', namespace, 'shardedcluster/grown', '--replicas=1']);
    await waitFor('the shard is gone', async () => {
      const pods = await memberPods(grown, 's1');
      return pods.length === 0 ? { done: true } : { state: pods.map((pod) => pod.metadata.name) };
    });
    await waitUntilReady(grown);
    const claim = { namespace, name: 'data-grown-s1-0' };
    expect(await (await kube()).get(persistentVolumeClaimType, claim)).toBeDefined();
  });
});

describe('two shards of three members', () => {
  it('are ready, all six', async () => {
    await waitUntilReady(wide, { timeoutMs: 180_000 });
    expect((await readCluster(wide)).status?.members).toMatchObject({ desired: 6, ready: 6 });
  });

  it('have a primary in the home zone of each', async () => {
    await waitFor(
      'the primaries are at home',
      async () => {
        const shards = (await readCluster(wide)).status?.shards?.items ?? [];
        const zones = shards.map(
          ({ primary, members }) => members.find(({ name }) => name === primary)?.zone,
        );
        return zones.join() === 'zone-a,zone-b' ? { done: true } : { state: zones };
      },
      // A member takes the primary home when it has been well for two minutes.
      { timeoutMs: 240_000 },
    );
  });
});
