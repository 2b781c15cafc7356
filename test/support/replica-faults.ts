import { connectApplication, type ShardService } from './pg.ts';
import { processesOf, signalAll } from './processes.ts';
import { run } from './program.ts';
import { holdReplay, inPod } from './read-replica-set.ts';
import type { MemberPod } from './sharded-cluster.ts';

/** Makes a member late; the returned function lets it catch up. */
export type LagFault = (shard: ShardService, pod: MemberPod) => Promise<() => Promise<void>>;

/** The ways in which a member gets late. */
export const lagFaults = {
  'a query that its replay waits for': (shard, pod) => holdReplay(shard, [pod]),
  'a replay that is paused': pauseReplay,
  'a slow link': throttle,
} satisfies Record<string, LagFault>;

/** Patroni resumes a replay that it finds paused, so it is frozen meanwhile. */
export async function pauseReplay({ namespace }: ShardService, pod: MemberPod): Promise<() => Promise<void>> {
  const patroni = processesOf(pod.metadata.uid ?? '').filter(({ name }) => name === 'patroni');
  if (patroni.length === 0) throw new Error(`no patroni runs in ${pod.metadata.name}`);
  signalAll(patroni, 'SIGSTOP');
  await inPod(namespace, pod.metadata.name, 'SELECT pg_wal_replay_pause()');
  return async () => signalAll(patroni, 'SIGCONT');
}

/** Lets 50 kB a second through to a pod of the local cluster, while ten times as much is written. */
async function throttle(shard: ShardService, pod: MemberPod): Promise<() => Promise<void>> {
  const [process] = processesOf(pod.metadata.uid ?? '');
  const inside = await run('nsenter', ['-t', `${process?.pid}`, '-n', 'ip', '-o', 'link', 'show', 'eth0']);
  const node = `--net=/run/netns/herdsman-${pod.spec?.nodeName}`;
  const index = /eth0@if(\d+)/.exec(inside)?.[1];
  const links = await run('nsenter', [node, 'ip', '-o', 'link']);
  const link = new RegExp(`^${index}: ([^@:]+)`, 'm').exec(links)?.[1];
  if (link === undefined) throw new Error(`${pod.metadata.name} has no link on its node: ${inside}`);
  const qdisc = (...words: string[]) => run('nsenter', [node, 'tc', 'qdisc', ...words]);
  const traffic = await startTraffic(shard);
  await qdisc('add', 'dev', link, 'root', 'tbf', 'rate', '400kbit', 'burst', '16kb', 'latency', '400ms');
  return async () => {
    await qdisc('del', 'dev', link, 'root');
    await traffic.stop();
  };
}

/** Writes half a megabyte a second that cannot be compressed. */
async function startTraffic(shard: ShardService): Promise<{ stop(): Promise<void> }> {
  const client = await connectApplication(shard);
  await client.query('CREATE TABLE IF NOT EXISTS noise (text text)');
  await client.query('ALTER TABLE noise ALTER COLUMN text SET STORAGE EXTERNAL');
  let isRunning = true;
  const writing = (async () => {
    while (isRunning) {
      await client.query(
        "INSERT INTO noise SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 1600)",
      );
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  })();
  return {
    async stop() {
      isRunning = false;
      await writing;
      await client.end();
    },
  };
}
