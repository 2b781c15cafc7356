import { once } from 'node:events';
import { type AddressInfo, createServer, connect as dial, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { gatedShard, never, type PoolerScene, startPoolerScene } from '../support/pooler-scene.ts';
import { waitFor, waitUntil } from '../support/wait.ts';

const poolSize = 5;

let scene: PoolerScene;
let way: Awaited<ReturnType<typeof wayTo>>;

beforeAll(async () => {
  scene = await startPoolerScene({
    instances: 1,
    spec: { sizing: 'manual', poolSize, maxPause: '1m' },
    async way(port) {
      way = await wayTo(port);
      return way.port;
    },
  });
});

afterAll(async () => {
  await scene?.end();
  await way?.cut();
});

/** A way to a server that can be cut, as it is when a primary is lost, and opened again, to another one if so wished; or be long. */
async function wayTo(port: number) {
  const sockets = new Set<Socket>();
  let to = port;
  let delayMs = 0;
  const listener = createServer((incoming) => {
    const outgoing = dial(to, '127.0.0.1');
    for (const [from, into] of [
      [incoming, outgoing],
      [outgoing, incoming],
    ] as const) {
      sockets.add(from);
      from.on('error', () => into.destroy()).on('close', () => into.destroy());
      from.on('data', (chunk) => void setTimeout(() => into.writable && into.write(chunk), delayMs));
      from.on('end', () => void setTimeout(() => into.end(), delayMs));
    }
  }).listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const address = listener.address() as AddressInfo;
  return {
    port: address.port,
    /** What is sent from now on takes so long. */
    delay(ms: number) {
      delayMs = ms;
    },
    async cut() {
      const closed = once(listener, 'close');
      listener.close();
      for (const socket of sockets) socket.destroy();
      sockets.clear();
      await closed;
    },
    async open(another = port) {
      to = another;
      listener.listen(address.port, '127.0.0.1');
      await once(listener, 'listening');
    },
  };
}

/** What a server answers to all that log in while it starts up. */
async function startStartingUp() {
  const fields = ['SFATAL', 'VFATAL', 'C57P03', 'Mthe database system is starting up'].map(
    (text) => `${text}\0`,
  );
  const body = Buffer.from(`${fields.join('')}\0`);
  const head = Buffer.from('E\0\0\0\0');
  head.writeInt32BE(body.length + 4, 1);
  let refused = 0;
  const listener = createServer((socket) => {
    socket
      .on('error', () => undefined)
      .on('data', (data) => {
        // Without TLS; whoever insists on it goes away by itself.
        if (data.length === 8) return socket.write('N');
        refused += 1;
        return socket.end(Buffer.concat([head, body]));
      });
  }).listen(0, '127.0.0.1');
  await once(listener, 'listening');
  return {
    port: (listener.address() as AddressInfo).port,
    refused: () => refused,
    stop: () => new Promise((resolve) => listener.close(resolve)),
  };
}

async function waitingClients(): Promise<number> {
  const pools = await scene.withConsole(0, (console) => console.showPools());
  return pools.reduce((sum, pool) => sum + pool.cl_waiting, 0);
}

/** PgBouncer's connections to the server, with the version of TLS once they have come so far. */
async function servers(): Promise<{ state: string; tls: string }[]> {
  const { host, port, user, password, ca, servername } = scene.poolers.console(0);
  const client = new pg.Client({
    host,
    port,
    user,
    password,
    database: 'pgbouncer',
    ssl: { ca, servername },
  });
  await client.connect();
  const { rows } = await client.query('SHOW SERVERS');
  await client.end();
  return rows;
}

describe('a server to which logins take long', () => {
  it('turns nobody away when PgBouncer connects anew while it makes one connection after the other', async () => {
    const errors: string[] = [];
    let ending = false;
    const clients = await Promise.all(Array.from({ length: 4 * poolSize }, () => scene.client()));
    const working = clients.map(async (each) => {
      while (!ending) {
        await each.query('SELECT pg_sleep(0.05)').catch((error: Error) => {
          errors.push(error.message);
          ending = true;
        });
      }
      await each.end();
    });
    const isLoggingIn = async () => (await servers()).some(({ state }) => state === 'new');
    way.delay(20);
    for (let count = 0; count < 2; count += 1) {
      await scene.reconnect('app');
      await waitUntil('it logs in', isLoggingIn);
    }
    ending = true;
    await Promise.all(working);
    await waitUntil('nobody logs in', async () => !(await isLoggingIn()));
    way.delay(0);
    expect(errors).toEqual([]);
  });
});

describe('a server that is lost for a while', () => {
  it('is a wait for those that are idle, ask or come, and an error only for those at work', async () => {
    const idle = await Promise.all(Array.from({ length: 20 }, () => scene.client()));
    let ending = false;
    let done = 0;
    const errors: string[] = [];
    const working = Array.from({ length: 20 }, async () => {
      let each: pg.Client | undefined;
      while (!ending) {
        try {
          each ??= await scene.client();
          await each.query('SELECT pg_sleep(0.01)');
          done += 1;
        } catch (error) {
          errors.push(String(error));
          each?.end().catch(() => undefined);
          each = undefined;
        }
      }
      await each?.end();
    });
    await waitUntil('clients are at work', () => done > 400);
    await way.cut();
    const answers = idle.map((each) => each.query('SELECT 1'));
    await waitUntil(
      'all of them wait',
      async () => (await waitingClients()) === working.length + idle.length,
    );
    await way.open();
    await Promise.all(answers);
    const before = done;
    await waitUntil('all go on', () => done > before + 200);
    ending = true;
    await Promise.all(working);
    await Promise.all(idle.map((each) => each.end()));
    expect(errors.filter((message) => /login has been failing/.test(message))).toEqual([]);
    expect(errors.length).toBeLessThanOrEqual(poolSize);
  });

  it('is a wait as long as it is there again and starts up, also when others than before shall be connected to', async () => {
    const starting = await startStartingUp();
    const asking = await scene.client();
    // Lost just after PgBouncer has logged in there.
    await scene.reconnect('app');
    await asking.query('SELECT 1');
    await way.cut();
    await way.open(starting.port);
    const answer = asking.query('SELECT 1');
    const coming: Promise<pg.Client>[] = [];
    while (coming.length < 10) {
      coming.push(scene.client());
      await sleep(20);
    }
    await waitUntil('it has been asked', () => starting.refused() > 2);
    coming.push(scene.client());
    await waitUntil('all of them wait', async () => (await waitingClients()) === 1 + coming.length);
    // The operator does so when it sees another primary, which may be before PgBouncer has logged in there.
    await scene.reconnect('app');
    await way.cut();
    await way.open();
    await answer;
    await Promise.all([asking, ...(await Promise.all(coming))].map((each) => each.end()));
    await starting.stop();
  });

  it('is a wait for all that come until it is there again, when the last login was over', async () => {
    const asking = await scene.client();
    await scene.reconnect('app');
    await asking.query('SELECT 1');
    await sleep(200);
    await way.cut();
    const answer = asking.query('SELECT 1').catch(() => undefined);
    const coming: Promise<unknown>[] = [];
    const come = async () => {
      coming.push(scene.client().then((each) => each.query('SELECT 1').finally(() => each.end())));
      await sleep(10);
    };
    while (coming.length < 30) await come();
    await way.open();
    while (coming.length < 80) await come();
    await Promise.all(coming);
    await answer;
    await asking.end();
  });

  it('is a wait also when a login was under way, which the loss cuts off', async () => {
    const idle = await Promise.all(Array.from({ length: 20 }, () => scene.client()));
    const superuser = new pg.Client(await scene.server.connection('postgres'));
    await superuser.connect();
    await superuser.query("ALTER SYSTEM SET post_auth_delay = '60s'");
    const loadedAt = async () =>
      (await superuser.query('SELECT pg_conf_load_time()::text AS at')).rows[0]?.at;
    const before = await loadedAt();
    await superuser.query('SELECT pg_reload_conf()');
    await waitUntil('logins take long', async () => (await loadedAt()) !== before);
    await scene.reconnect('app');
    const [first, ...others] = idle;
    const answers = [first?.query('SELECT 1')];
    await waitUntil('a login is under way', async () =>
      (await servers()).some(({ state, tls }) => state === 'new' && tls !== ''),
    );
    await superuser.query('ALTER SYSTEM RESET post_auth_delay');
    await superuser.query('SELECT pg_reload_conf()');
    await way.cut();
    await waitUntil('clients are paused', async () => {
      const databases = await scene.withConsole(0, (console) => console.showDatabases());
      return databases.some(({ name, paused }) => name === 'app' && Number(paused) === 1);
    });
    answers.push(...others.map((each) => each.query('SELECT 1')));
    await waitUntil('all of them wait', async () => (await waitingClients()) === idle.length);
    await way.open();
    await Promise.all(answers);
    await Promise.all([...idle, superuser].map((each) => each.end()));
  });

  it('is an error for those that ask when maxPause is over, and for those that have waited so long', async () => {
    const queryWait = () =>
      scene.withConsole(0, async (console) => (await console.showConfig()).get('query_wait_timeout'));
    const revision = await scene.poolers.write({ sizing: 'manual', poolSize, maxPause: '1s' });
    await scene.withConsole(0, (console) => console.reload());
    expect(revision).not.toBe(scene.poolers.revision);
    // It asks before the loss, and waits for those that are served: who asks between the loss and the pause is turned away.
    const working = await Promise.all(Array.from({ length: poolSize }, () => scene.client()));
    const work = working.map((each) => each.query('SELECT pg_sleep(60)').catch(() => undefined));
    const waiting = await scene.client();
    const turnedAway = expect(waiting.query('SELECT 1')).rejects.toThrow(/query_wait_timeout/);
    await waitUntil('it waits', async () => (await waitingClients()) === 1);
    await way.cut();
    const lowered = waitUntil('all wait no longer than that', async () => (await queryWait()) === '1');
    await turnedAway;
    await Promise.all(work);
    await waitFor('others are turned away', async () => {
      const error = await scene.client({ connectionTimeoutMillis: 500 }).then(
        () => 'got in',
        (reason: Error) => reason.message,
      );
      return /server login has been failing/.test(error) ? { done: error } : { state: error };
    });
    await lowered;
    await waitUntil(
      'those of other databases wait as long as before',
      async () => (await queryWait()) === '120',
    );
    await way.open();
    await waitUntil('somebody is served again', () =>
      scene.client().then(
        (each) => each.end().then(() => true),
        () => false,
      ),
    );
  });

  it('is a wait behind the gate, for those that are there and those that come', async () => {
    const asking = await waitFor('somebody is served again', async () => {
      const made = await scene.client();
      await made.query('SELECT 1');
      return { done: made };
    });
    const gate = scene.gate({ instances: [0] });
    const answers: Promise<unknown>[] = [];
    await gate.whilePaused(
      gatedShard,
      async () => {
        await way.cut();
        answers.push(asking.query('SELECT 1'));
        const coming = scene.client();
        answers.push(coming.then((each) => each.query('SELECT 1').finally(() => each.end())));
        await waitUntil('both wait', async () => (await waitingClients()) >= 2);
        await way.open();
      },
      never,
    );
    await Promise.all(answers);
    await asking.end();
  });
});
