import type { X509Certificate } from 'node:crypto';
import { type ReplicaStats, readReplicaStats } from '../../postgres/replica-stats.ts';
import { servedCertificate } from '../../postgres/served-certificate.ts';
import { keyString } from '../../runtime/kubernetes-object.ts';
import { type Reading, readingOf } from '../../runtime/reading.ts';
import { isPodReady, type Pod } from '../sharded-cluster/kubernetes.ts';
import { patroniPort, primaryHost } from '../sharded-cluster/names.ts';
import { silentMs } from '../sharded-cluster/stand-still.ts';
import type { Inquiry } from './inquiry.ts';
import type { Position } from './lag.ts';
import type { PrimaryFacts, Upstream } from './model.ts';
import { readOldest } from './observe-primary.ts';

/** Members are asked so often for the certificate that they serve. */
const certificateMs = 30_000;

/** Asks a member what it shows and does; `absent` while it is not ready. */
export function readMember(
  { set, cluster, shard, access, poll }: Inquiry,
  pod: Pod | undefined,
): Promise<Reading<ReplicaStats>> {
  const address = pod?.status?.podIP;
  if (pod === undefined || address === undefined || !isPodReady(pod))
    return Promise.resolve({ state: 'absent' });
  return poll.ask(
    `${keyString(set.metadata)}/${pod.metadata.uid}`,
    access.asOperator(shard, address, 'postgres'),
    (connection) => readReplicaStats(connection, cluster.spec.postgres.database),
  );
}

/**
 * Where a member is: by its own word; while it does not answer, by that of the primary that it streams from; else where it
 * was, for what cannot be asked may stand still.
 */
export function positionOf(
  { memory, monotonicMs }: Pick<Inquiry, 'memory' | 'monotonicMs'>,
  pod: Pod | undefined,
  stats: Reading<Pick<ReplicaStats, 'received' | 'replayed' | 'committedMs'>>,
  primary: Pick<PrimaryFacts, 'clockMs' | 'askedMs' | 'standbys'> | undefined,
): Position | undefined {
  const uid = pod?.metadata.uid;
  if (pod === undefined || uid === undefined || stats.state === 'absent') return undefined;
  const told = stats.state === 'present' ? stats.value : primary?.standbys[pod.metadata.name];
  const position = told ?? memory.positions.get(uid);
  if (position === undefined) return undefined;
  const { replayed, received } = position;
  memory.positions.set(uid, { replayed, received });
  const committedMs = stats.state === 'present' ? stats.value.committedMs : null;
  // Both times are the primary's own, and it has told its own some time ago.
  const commitAgeMs =
    committedMs === null || primary === undefined
      ? undefined
      : primary.clockMs - committedMs + monotonicMs() - primary.askedMs;
  return { replayed, received, commitAgeMs };
}

/**
 * What a member streams from that is configured to follow this pod; `undefined`: the primary, as long as the pod does not serve, and
 * for the first of a cascade, which nobody precedes.
 */
export function upstreamOf(member: string, pod: Pod | undefined): Upstream | undefined {
  const address = pod?.status?.podIP;
  if (pod === undefined || address === undefined || !isPodReady(pod)) return undefined;
  return pod.metadata.name === member ? undefined : { name: pod.metadata.name, address };
}

/** Whether what a member streams from no longer has the WAL that it needs next; only one that has been silent for a while is suspected. */
export async function isLost(
  inquiry: Pick<Inquiry, 'set' | 'shard' | 'access' | 'poll' | 'memory' | 'monotonicMs'>,
  pod: Pod | undefined,
  stats: Reading<Pick<ReplicaStats, 'streaming' | 'waitsForWal' | 'received'>>,
  source: { readonly address: string } | undefined,
): Promise<boolean> {
  const { memory, monotonicMs } = inquiry;
  const uid = pod?.metadata.uid;
  if (pod === undefined || uid === undefined || stats.state !== 'present') return false;
  if (stats.value.streaming) {
    memory.silent.delete(uid);
    return false;
  }
  const since = memory.silent.get(uid) ?? monotonicMs();
  memory.silent.set(uid, since);
  // What it has itself it may still replay.
  if (!stats.value.waitsForWal) return false;
  if (source === undefined || monotonicMs() - since < silentMs) return false;
  const oldest = await readOldest(inquiry, pod.metadata.name, source.address);
  return oldest !== undefined && stats.value.received < oldest;
}

/**
 * Kubelets deliver a renewed Secret in their own time; a member is told to read it again until it serves it. Answers what
 * the last look has found, once: a Patroni that hangs holds up no pass.
 */
export function takeStaleCertificates(
  inquiry: Inquiry,
  pods: readonly Pod[],
  certificate: X509Certificate | undefined,
): readonly string[] {
  const { shard, memory, monotonicMs } = inquiry;
  const found = memory.staleCertificates.get(shard) ?? [];
  memory.staleCertificates.delete(shard);
  const lastMs = memory.certificateLooks.get(shard) ?? Number.NEGATIVE_INFINITY;
  if (certificate !== undefined && monotonicMs() - lastMs >= certificateMs) {
    memory.certificateLooks.set(shard, monotonicMs());
    void look(inquiry, pods, certificate);
  }
  return found;
}

async function look(
  { set, shard, memory }: Inquiry,
  pods: readonly Pod[],
  certificate: X509Certificate,
): Promise<void> {
  const servername = primaryHost(set.spec.cluster, shard, set.metadata.namespace);
  const readings = pods.filter(isPodReady).map(async ({ metadata, status }): Promise<string[]> => {
    const host = status?.podIP;
    if (host === undefined) return [];
    const served = await readingOf(() => servedCertificate({ host, port: patroniPort, servername }));
    return served.state === 'present' && served.value !== certificate.fingerprint256 ? [metadata.name] : [];
  });
  memory.staleCertificates.set(shard, (await Promise.all(readings)).flat());
}
