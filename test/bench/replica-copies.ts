import pg from 'pg';
import { kubectl } from '../support/kubectl.ts';
import { applicationConfig } from '../support/pg.ts';
import { applySet, replicaPods, waitForSet, waitUntilServing } from '../support/read-replica-set.ts';
import { primaryPod } from '../support/sharded-cluster.ts';
import { waitFor } from '../support/wait.ts';
import type { ReplicaScene } from './replicas.ts';
import { type Measured, median, note, reached, runCount } from './report.ts';
import { targets } from './targets.ts';

/** How fast members are copied, beside a pg_basebackup by hand in a member's pod, and how soon they serve. */
export async function copies({ cluster, set, spec }: ReplicaScene): Promise<Measured> {
  const runs = runCount(5);
  const ours: number[] = [];
  const plain: number[] = [];
  const seconds: number[] = [];
  for (let run = 1; run <= runs; run += 1) {
    plain.push(await watched(cluster, () => plainCopy({ cluster, set, spec })));
    const begun = performance.now();
    ours.push(
      await watched(cluster, async () => {
        await applySet(set, { ...spec, replicas: 2 });
        await waitForSet(set, 'two members serve', ({ replicas }) => replicas?.inRotation === 2);
      }),
    );
    seconds.push((performance.now() - begun) / 1000);
    note(
      `copy ${run}/${runs}: ${ours.at(-1)?.toFixed(0)} MB/s, plain ${plain.at(-1)?.toFixed(0)} MB/s, ${seconds.at(-1)?.toFixed(1)} s`,
    );
    await applySet(set, { ...spec, replicas: 1 });
    await waitUntilServing(set, 1);
    await waitFor('the volume is gone', async () => {
      const claims = await kubectl(['get', 'pvc', '-n', set.namespace, '-o', 'name']);
      return claims.includes('replicas-1') ? { state: claims } : { done: true };
    });
  }
  return {
    reach: [
      reached(targets.replicas.copy, median(ours) / median(plain), runs),
      reached(targets.replicas.join, median(seconds), runs),
    ],
    detail: { copyMBs: ours.map(Math.round), plainMBs: plain.map(Math.round), joinSeconds: seconds },
  };
}

/** Megabytes a second of the copy that the primary sends meanwhile, by what it tells of its progress. */
async function watched(cluster: ReplicaScene['cluster'], copy: () => Promise<void>): Promise<number> {
  const config = await applicationConfig(
    { namespace: cluster.namespace, cluster: cluster.name },
    `${cluster.name}-monitoring`,
  );
  const client = new pg.Client(config);
  await client.connect();
  let [bytes, firstMs, lastMs] = [0, 0, 0];
  let isRunning = true;
  const watching = (async () => {
    while (isRunning) {
      const { rows } = await client.query<{ bytes: string; at: Date }>(
        `SELECT backup_streamed AS bytes, clock_timestamp() AS at FROM pg_stat_progress_basebackup
          WHERE phase = 'streaming database files'`,
      );
      const [row] = rows;
      if (row !== undefined) {
        bytes = Number(row.bytes);
        lastMs = row.at.getTime();
        firstMs ||= lastMs;
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  })();
  await copy();
  isRunning = false;
  await watching;
  await client.end();
  if (lastMs <= firstMs) throw new Error('no copy was seen');
  return bytes / 1e6 / ((lastMs - firstMs) / 1000);
}

async function plainCopy({ cluster, set }: ReplicaScene): Promise<void> {
  const [pod] = await replicaPods(set);
  const primary = await primaryPod(cluster);
  const tls = '/etc/herdsman/tls';
  const source = [
    `host=${primary.status?.podIP} user=replication sslmode=verify-ca sslrootcert=${tls}/ca.crt`,
    `sslcert=${tls}/client.crt sslkey=${tls}/client.key`,
  ].join(' ');
  const directory = '/var/lib/postgresql/data/plain';
  const script = `rm -rf ${directory} && pg_basebackup -d "${source}" -D ${directory} -X stream -c fast; rc=$?; rm -rf ${directory}; exit $rc`;
  await kubectl(['exec', '-n', set.namespace, pod?.metadata.name ?? '', '--', 'sh', '-c', script]);
}
