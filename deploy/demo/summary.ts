import { isLocalCluster, kubeconfigPath } from '../../test/support/cluster.ts';
import { query } from '../../test/support/pg.ts';
import { cacheFolder } from '../../test/support/program.ts';
import type { ClusterKey, ShardedCluster } from '../../test/support/sharded-cluster.ts';
import type { FailoverOutcome } from './failover.ts';
import { type Comparison, number } from './load.ts';
import { namespace } from './sample.ts';
import type { ScaleOutcome } from './scale.ts';
import { duration, elapsed, paint, say, table } from './screen.ts';

/** Prints what there is now, what was proved, and what to try next. */
export async function printSummary(
  cluster: ShardedCluster,
  comparisons: readonly Comparison[],
  failover: FailoverOutcome,
  scalings: readonly ScaleOutcome[],
): Promise<void> {
  const key: ClusterKey = { namespace, name: cluster.metadata.name };
  const shards = cluster.status?.shards?.items ?? [];
  const head = (text: string): void => say(`\n  ${paint(['bold', 'cyan'], text)}`);
  const body = (rows: readonly (readonly string[])[]): void => {
    for (const [index, line] of table(rows).entries()) say(`    ${index === 0 ? paint('dim', line) : line}`);
  };

  head(`${key.name}: ${shards.length} shards, each an HA group`);
  body([
    ['member', 'role', 'zone', 'timeline', 'sync'],
    ...shards.flatMap(({ members }) =>
      members.map((member) => [
        member.name,
        member.role,
        member.zone ?? '',
        String(member.timeline ?? ''),
        member.role === 'primary' ? '' : member.sync === true ? 'yes' : 'no',
      ]),
    ),
  ]);

  head('Where the rows are');
  body([
    ['table', ...shards.map(({ name }) => name), 'in the files', 'checksum'],
    ...comparisons.map(({ table: name, rows, source, same }) => [
      name,
      ...shards.map((shard) => number(rows.get(shard.name) ?? 0)),
      number(source.rows),
      same ? 'the same' : 'DIFFERENT',
    ]),
  ]);

  head('Scaled under load');
  body([
    ['shards', 'buckets moved', 'time', 'commits', 'longest write gap', 'errors', 'lost', 'doubled or stale'],
    ...scalings.map(({ from, to, moved, tookMs, commits, longestGapMs, errors, verdict }) => [
      `${from} to ${to}`,
      String(moved),
      duration(tookMs),
      number(commits),
      `${Math.round(longestGapMs)} ms`,
      String(errors.length),
      String(verdict.lost.length),
      String(verdict.doubled.length + verdict.stale.length + verdict.strange.length),
    ]),
  ]);

  head(`${failover.killed} was killed under load`);
  body([
    ['shard', 'longest write gap', 'acknowledged rows', 'lost'],
    ...failover.shards.map(({ shard, writeGapMs, verdict }) => [
      shard,
      `${Math.round(writeGapMs)} ms`,
      number(verdict.acknowledged),
      String(verdict.lost.length),
    ]),
  ]);

  head('Asked of every shard');
  for (const line of await busiestAircraft(
    key,
    shards.map(({ name }) => name),
  ))
    say(`    ${line}`);

  head('Try next');
  const [first] = shards;
  const kubectl = `kubectl -n ${key.namespace}`;
  const path = isLocalCluster() ? ` PATH=${cacheFolder}/bin:$PATH` : '';
  say(`    ${paint('dim', `export KUBECONFIG=${kubeconfigPath()}${path}`)}`);
  say(`    ${kubectl} get shardedcluster,shardmap,pods -L herdsman.dev/role`);
  say(
    `    ${kubectl} exec -it ${first?.primary ?? `${key.name}-s0-0`} -- psql ${cluster.spec.postgres?.database ?? 'app'}`,
  );
  say(
    `    ${kubectl} scale shardedcluster ${key.name} --replicas=3    ${paint('dim', '# and get smv -w: buckets move, online')}`,
  );
  say(`\n  ${paint('dim', `${elapsed()} in all. make demo-down takes everything away.`)}\n`);
}

/** A question whose answer needs all shards; each counts its own aircraft, for an aircraft's flights are on one shard. */
async function busiestAircraft(key: ClusterKey, shards: readonly string[]): Promise<string[]> {
  interface Row extends Record<string, unknown> {
    tailnum: string;
    what: string;
    flights: number;
    airline: string;
  }
  const found = await Promise.all(
    shards.map((shard) =>
      query<Row>(
        { namespace: key.namespace, cluster: key.name, shard },
        `SELECT p.tailnum, p.manufacturer || ' ' || p.model AS what, count(*)::int AS flights, max(a.name) AS airline
           FROM flights f JOIN planes p ON p.tailnum = f.plane JOIN airlines a USING (carrier)
          GROUP BY p.tailnum ORDER BY flights DESC LIMIT 1`,
      ),
    ),
  );
  const [top] = found.flat().toSorted((a, b) => b.flights - a.flights);
  if (top === undefined) return ['no aircraft flew'];
  return [
    `The busiest registered aircraft was ${top.tailnum}, a ${top.what} of ${top.airline}: ${number(top.flights)} flights.`,
  ];
}
