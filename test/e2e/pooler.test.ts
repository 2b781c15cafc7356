import { once } from 'node:events';
import { connect as dial } from 'node:net';
import type pg from 'pg';
import { beforeAll, describe, expect, it } from 'vitest';
import { type ClientPod, startClientPod } from '../support/client-pod.ts';
import { waitUntilWhole } from '../support/endurance.ts';
import { faultOf } from '../support/faults.ts';
import { query } from '../support/pg.ts';
import {
  applyPooler,
  atWork,
  connectPooler,
  type PoolerKey,
  poolerClientConfig,
  startPoolerLoad,
  waitUntilPooling,
} from '../support/pooler-config.ts';
import { processesOf } from '../support/processes.ts';
import { runPsycopg } from '../support/psycopg.ts';
import { namespaceForFile } from '../support/scene.ts';
import {
  applyCluster,
  type ClusterKey,
  primaryPod,
  waitForAnotherPrimary,
  waitUntilReady,
} from '../support/sharded-cluster.ts';
import { waitFor, waitUntil } from '../support/wait.ts';

// PgBouncer before a cluster of one shard, with the whole operator. What takes longer is in test/chaos.

const namespace = namespaceForFile('pooler');
const cluster: ClusterKey = { namespace, name: 'shop' };
const key: PoolerKey = { namespace, name: 'web', cluster: 'shop' };
/** The same for those that only read, from standbys. */
const readers: PoolerKey = { ...key, name: 'reads' };
const target = { namespace, cluster: 'shop' };
/** 20 server connections for the application, on two instances. */
const spec = { sizing: 'manual', poolSize: 10 } as const;
const poolers = ['-h', `web-pooler.${namespace}.svc`, '-d', 'app'];

let tools: ClientPod;
let config: pg.ClientConfig;

const clusterSpec = (locks = 64) => ({
  members: 3,
  // Room for both fleets: a standby that is promoted has the sessions of readers and of writers.
  postgres: { parameters: { max_connections: '100', max_locks_per_transaction: String(locks) } },
});

beforeAll(async () => {
  await applyCluster(cluster, clusterSpec());
  await applyPooler(key, spec);
  await applyPooler(readers, { target: { cluster: 'shop', role: 'ro' }, replicas: 1 });
  await waitUntilReady(cluster);
  await Promise.all([key, readers].map((each) => waitUntilPooling(each)));
  tools = await startClientPod(cluster);
  config = await poolerClientConfig(key);
});

/** Sessions of the application on the primary, but for the one that asks. */
async function serverConnections(): Promise<number> {
  const [row] = await query<{ n: number }>(
    target,
    "SELECT count(*)::int AS n FROM pg_stat_activity WHERE usename = 'app' AND pid <> pg_backend_pid()",
  );
  return row?.n ?? 0;
}

describe('many clients', () => {
  it('500 share 20 server connections, those that stay', async () => {
    const clients = await Promise.all(Array.from({ length: 500 }, () => connectPooler(config)));
    let most = 0;
    const counting = waitFor('all are done', async () => {
      most = Math.max(most, await serverConnections());
      return ended ? { done: true } : { state: most };
    });
    let ended = false;
    await Promise.all(
      clients.map(async (client, index) => {
        for (let turn = 0; turn < 5; turn += 1) {
          const statement = {
            name: `s${(index + turn) % 7}`,
            text: `SELECT $1::int + ${(index + turn) % 7} AS n`,
          };
          const { rows } = await client.query<{ n: number }>({ ...statement, values: [index] });
          expect(rows[0]?.n).toBe(index + ((index + turn) % 7));
        }
      }),
    );
    ended = true;
    await counting;
    await Promise.all(clients.map((client) => client.end()));
    expect(most).toBeGreaterThan(0);
    expect(most).toBeLessThanOrEqual(20);
  });

  it('500 of pgbench too: they stay, or come for each transaction, read or write, with prepared statements or without', async () => {
    await tools.run(['pgbench', '-i', '-q', ...poolers]);
    for (const words of [['-S'], ['-S', '-M', 'prepared'], ['-N'], ['-S', '-C'], ['-N', '-C']]) {
      const command = ['pgbench', '-n', '-c', '500', '-j', '2', '-t', '2', ...words, ...poolers];
      let ended = false;
      const running = tools.run(command).finally(() => {
        ended = true;
      });
      // Its failure is thrown below, where it is waited for.
      running.catch(() => undefined);
      let most = 0;
      await waitFor('all are done', async () => {
        most = Math.max(most, await serverConnections());
        return ended ? { done: true } : { state: most };
      });
      const printed = await running;
      expect(printed).toMatch(/number of failed transactions: 0 /);
      expect(printed).toMatch(/transactions actually processed: 1000\/1000/);
      expect(most).toBeGreaterThan(0);
      expect(most).toBeLessThanOrEqual(20);
    }
  });

  it('those of psycopg keep, and drop, their prepared statements', async () => {
    const { servers } = await runPsycopg(config, { clients: 40, turns: 120 });
    expect(servers).toBeGreaterThan(1);
    expect(servers).toBeLessThanOrEqual(20);
  });
});

it('a cancel finds its session, whichever instance it reaches', async () => {
  // The Service picks an instance for each: that all meet their own is one case in 2^12.
  const clients = await Promise.all(Array.from({ length: 12 }, () => connectPooler(config)));
  const answers = clients.map((client) =>
    client.query('SELECT pg_sleep(60)').then(
      () => 'done',
      (error: Error) => error.message,
    ),
  );
  await waitUntil('all queries run', async () => {
    const rows = await query(target, "SELECT FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'");
    return rows.length === clients.length;
  });
  for (const client of clients) {
    const { processID, secretKey } = client as unknown as { processID: number; secretKey: number };
    const request = Buffer.alloc(16);
    for (const [index, word] of [16, 80877102, processID, secretKey].entries())
      request.writeInt32BE(word, index * 4);
    // As drivers do, who sends it waits until it has been passed on; else PgBouncer gives it up.
    const socket = dial(config.port ?? 0, config.host);
    socket.write(request);
    await once(socket.resume(), 'close');
  }
  for (const answer of await Promise.all(answers))
    expect(answer).toMatch(/canceling statement due to user request/);
  await Promise.all(clients.map((client) => client.end()));
});

it('restarts of standbys and a planned switchover are a wait, and an error for nobody', async () => {
  const before = await primaryPod(cluster);
  const load = await startPoolerLoad(key, {
    clients: 30,
    leaveAfter: 25,
    work: async (client) => {
      await client.query('BEGIN');
      await client.query('CREATE TEMPORARY TABLE mine (n int) ON COMMIT DROP');
      await client.query('COMMIT');
    },
  });
  const reads = await startPoolerLoad(readers, {
    clients: 10,
    database: 'app_ro',
    work: (client) => client.query('SELECT pg_is_in_recovery()'),
  });
  await Promise.all([load, reads].map((each) => atWork(each, 200)));
  await applyCluster(cluster, clusterSpec(65));
  await waitForAnotherPrimary(cluster, before);
  await waitUntilReady(cluster);
  for (const each of [load, reads]) {
    await atWork(each, 200);
    await each.stop();
  }
  const waits = [load, reads].map((each) => Math.round(each.longestMs()));
  console.log(`planned switchover: longest wait of a writer ${waits[0]} ms, of a reader ${waits[1]} ms`);
  expect([...load.errors, ...reads.errors].map(({ message }) => message)).toEqual([]);
  // maxPause, after which clients go on whatever has become of the change, and what a transaction takes.
  for (const wait of waits) expect(wait).toBeLessThan(13_000);
});

/** Processes of PostgreSQL in a pod. */
function serversOf(uid: string): number[] {
  return processesOf(uid)
    .filter(({ name }) => name === 'postgres')
    .map(({ pid }) => pid);
}

it('a lost primary is an error for those only that were in a transaction', async () => {
  const idle = await Promise.all(Array.from({ length: 20 }, () => connectPooler(config)));
  for (const client of idle) await client.query('SELECT 1');
  const busy = await connectPooler(config);
  await busy.query('BEGIN');
  await busy.query('SELECT 1');
  const load = await startPoolerLoad(key, { clients: 20 });
  await atWork(load, 200);
  // Without a standby that commits wait for, a server that crashed is started where it is.
  await waitUntilWhole(cluster);
  const before = await primaryPod(cluster);
  const uid = before.metadata.uid ?? '';
  const lost = serversOf(uid);
  await faultOf('primary postgres killed').inject(cluster, 's0');
  // Whoever asks while some of its sessions end only now may be given one of them.
  await waitUntil('the server has ended', () => !serversOf(uid).some((pid) => lost.includes(pid)));
  const answers = Promise.allSettled(idle.map((client) => client.query('SELECT 1')));
  await waitForAnotherPrimary(cluster, before);
  await atWork(load, 200);
  await load.stop();
  expect((await answers).filter(({ status }) => status === 'rejected')).toEqual([]);
  const messages = load.errors.map(({ message }) => message);
  console.log(`lost primary: longest wait ${Math.round(load.longestMs())} ms`, messages);
  // Each was using a connection, or was being let in by one: the third for its password, the fourth for its settings.
  for (const message of messages)
    expect(message).toMatch(/server conn crashed|terminat|bouncer config error|invalid server parameter/i);
  // Who was at work connects anew, and may find that nobody is held back yet, once: a second of it would be a dozen times.
  expect(messages.length).toBeLessThanOrEqual(2 * 20);
  await expect(busy.query('SELECT 1')).rejects.toThrow();
  for (const client of idle) await client.query('SELECT 1');
  await Promise.all([...idle, busy].map((client) => client.end()));
  await waitUntilReady(cluster);
});
