import pg from 'pg';
import { createNamespace, deleteNamespace } from '../support/namespace.ts';
import {
  applyPooler,
  atWork,
  type PoolerKey,
  startPoolerLoad,
  waitUntilPooling,
} from '../support/pooler-config.ts';
import type { PoolerServers } from '../support/pooler-server.ts';
import {
  applyCluster,
  primaryPod,
  waitForAnotherPrimary,
  waitUntilReady,
} from '../support/sharded-cluster.ts';
import { measureConnections } from './pooler-connections.ts';
import {
  app,
  type Contenders,
  type Ground,
  makeTables,
  pgbench,
  type Run,
  startGround,
  type Way,
} from './pooler-servers.ts';
import { type Measured, median, note, type Reach, reached, runCount } from './report.ts';
import { targets } from './targets.ts';

const parts: Readonly<Record<string, () => Promise<Measured>>> = {
  speed: measureSpeed,
  plain: measurePlain,
  connections: measureConnections,
  switchover: measureSwitchover,
};

/** Poolers: speed beside a PgBouncer set up by hand, before one server, and connections without TLS; on the cluster a connection for each transaction, and planned switchovers. Or one of these. */
export async function pooler(words: readonly string[]): Promise<Measured> {
  const chosen = words.length === 0 ? Object.keys(parts) : words;
  const measured: Measured[] = [];
  for (const name of chosen) {
    const measure = parts[name];
    if (measure === undefined) throw new Error(`${name}: write ${Object.keys(parts).join(', ')} or nothing`);
    measured.push(await measure());
  }
  return {
    reach: measured.flatMap(({ reach }) => reach),
    detail: Object.assign({}, ...measured.map(({ detail }) => detail)),
  };
}

const seconds = 4;
const scripts = { select: ['-S', '-n'], tpcb: ['-n'] } as const;
const crowds = [8, 32, 128] as const;

const connectingEach = ['-S', '-n', '-C', '-j', '2', '-c', '128', '-T', `${seconds}`];

/** A connection for each transaction, of clients that use no TLS: what they compute for it themselves is the same on every way. */
async function measurePlain(): Promise<Measured> {
  const ground = await startGround({ tls: false });
  try {
    const turns = runCount(5);
    await makeTables(ground.direct, 10);
    const connectingPlain = await inTurns(ground, turns, connectingEach);
    note(`a connection for each transaction, without TLS: ${JSON.stringify(connectingPlain)}`);
    return {
      reach: [reached(targets.pooler.connectingPlain, connectingPlain.ofDirect, turns)],
      detail: { connectingPlain },
    };
  } finally {
    await ground.stop();
  }
}

async function measureSpeed(): Promise<Measured> {
  const ground = await startGround();
  try {
    const turns = runCount(5);
    await makeTables(ground.direct, 10);
    const reach: Reach[] = [];
    const detail: Record<string, unknown> = {};
    for (const clients of crowds) {
      for (const script of ['select', 'tpcb'] as const) {
        const words = [...scripts[script], '-c', `${clients}`, '-T', `${seconds}`];
        const found = await inTurns(ground, turns, words);
        reach.push(reached(targets.pooler[`${script} ${clients}`], found.ofByHand, turns));
        detail[`${script} ${clients}`] = found;
        note(`${script} with ${clients} clients: ${JSON.stringify(found)}`);
      }
    }
    const connecting = await inTurns(ground, turns, connectingEach);
    note(`a connection for each transaction: ${JSON.stringify(connecting)}`);
    reach.push(reached(targets.pooler.connecting, connecting.ofDirect, turns));
    reach.push(reached(targets.pooler.connectingCost, connecting.directCost, turns));
    const bytes = await withContenders(ground, ({ ours }) => memoryOf(ours));
    reach.push(reached(targets.pooler.memory, bytes / 2 ** 20, 1));
    return { reach, detail: { ...detail, connecting } };
  } finally {
    await ground.stop();
  }
}

async function withContenders<T>(ground: Ground, work: (contenders: Contenders) => Promise<T>): Promise<T> {
  const contenders = await ground.startContenders();
  try {
    return await work(contenders);
  } finally {
    await contenders.stop();
  }
}

/**
 * TPS of each way, and ours as a share of the others', medians, turn by turn: whatever befalls the machine befalls all. Each turn has
 * poolers of its own, since two processes of the very same settings differ by a tenth for as long as they run.
 */
async function inTurns(ground: Ground, turns: number, words: readonly string[]) {
  const found: Record<Way, Run[]> = { direct: [], ours: [], byHand: [] };
  const ways = Object.keys(found) as Way[];
  for (let turn = 0; turn < turns; turn += 1) {
    await withContenders(ground, async ({ places }) => {
      for (const way of turn % 2 === 0 ? ways : ways.toReversed())
        found[way].push(await pgbench(places[way], words));
    });
  }
  const share = (way: Way) => median(found.ours.map(({ tps }, turn) => tps / (found[way][turn]?.tps ?? tps)));
  const cost = found.ours.map(({ serverMs }, turn) => (found.direct[turn]?.serverMs ?? 0) / serverMs);
  const rounded = (value: number) => Math.round(value * 1000) / 1000;
  const tps = (way: Way) => Math.round(median(found[way].map((run) => run.tps)));
  return {
    direct: tps('direct'),
    ours: tps('ours'),
    byHand: tps('byHand'),
    shares: found.ours.map(({ tps }, turn) => rounded(tps / (found.byHand[turn]?.tps ?? tps))),
    ofByHand: rounded(share('byHand')),
    ofDirect: rounded(share('direct')),
    directCost: rounded(median(cost)),
  };
}

async function memoryOf(ours: PoolerServers): Promise<number> {
  const before = await ours.memory(0);
  const config = {
    host: '127.0.0.1',
    port: ours.ports[0] ?? 0,
    user: app.name,
    password: app.password,
    database: 'app',
    ssl: { ca: ours.ca, servername: ours.servername },
  };
  const clients = Array.from({ length: 1000 }, () => new pg.Client(config));
  for (let from = 0; from < clients.length; from += 100)
    await Promise.all(clients.slice(from, from + 100).map((client) => client.connect()));
  const after = await ours.memory(0);
  await Promise.all(clients.map((client) => client.end()));
  return after - before;
}

async function measureSwitchover(): Promise<Measured> {
  const runs = 3;
  const key: PoolerKey = { namespace: await createNamespace('bench'), name: 'web', cluster: 'planned' };
  const cluster = { namespace: key.namespace, name: key.cluster };
  const applyLocks = (locks: number) =>
    applyCluster(cluster, {
      members: 3,
      postgres: { parameters: { max_locks_per_transaction: String(locks) } },
    });
  const waitsMs: number[] = [];
  const errors = new Map<string, number>();
  try {
    await applyLocks(64);
    await applyPooler(key);
    await waitUntilReady(cluster);
    await waitUntilPooling(key);
    for (let turn = 1; turn <= runs; turn += 1) {
      const before = await primaryPod(cluster);
      const load = await startPoolerLoad(key, { clients: 50, everyMs: 20 });
      await atWork(load, 200);
      await applyLocks(64 + turn);
      await waitForAnotherPrimary(cluster, before);
      await waitUntilReady(cluster);
      await load.stop();
      for (const { message } of load.errors) errors.set(message, (errors.get(message) ?? 0) + 1);
      waitsMs.push(load.longestMs());
      note(
        `switchover ${turn}/${runs}: longest wait ${Math.round(load.longestMs())} ms, ${load.errors.length} errors`,
      );
    }
  } finally {
    await deleteNamespace(key.namespace);
  }
  const failed = [...errors.values()].reduce((sum, count) => sum + count, 0);
  const reach: Reach[] = [
    reached(targets.pooler.errors, failed, runs),
    reached(targets.pooler.wait, Math.max(...waitsMs), runs),
  ];
  return { reach, detail: { waitsMs: waitsMs.map(Math.round), errors: Object.fromEntries(errors) } };
}
