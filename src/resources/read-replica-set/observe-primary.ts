import {
  type PrimaryPosition,
  readOldestPosition,
  readPrimaryPosition,
  readServerBytes,
} from '../../postgres/replica-stats.ts';
import { keyString } from '../../runtime/kubernetes-object.ts';
import type { Reading } from '../../runtime/reading.ts';
import type { Pod } from '../sharded-cluster/kubernetes.ts';
import { roleLabel, shardLabel } from '../sharded-cluster/names.ts';
import { byCluster, clusterIndexValue, type Sources } from '../sharded-cluster/sources.ts';
import { type Inquiry, remembered } from './inquiry.ts';
import type { PrimaryFacts } from './model.ts';
import { withSample } from './staleness.ts';

/** For how long the size of all data is good. */
const bytesMs = 60_000;

/** Asks the primary of a shard where it is, and adds that to its history, which reaches back for `keepMs`. */
export async function readPrimary(
  inquiry: Inquiry,
  sources: Sources,
  keepMs: number,
): Promise<Reading<PrimaryFacts>> {
  const { set, shard, access, memory, poll, monotonicMs } = inquiry;
  const [pod, ...others] = primariesOf(inquiry, sources);
  const address = pod?.status?.podIP;
  if (pod === undefined || address === undefined || others.length > 0) {
    return { state: 'unknown', error: new Error(`shard ${shard} has no single primary`) };
  }
  const reading = await poll.ask<PrimaryPosition>(
    `${keyString(set.metadata)}/${pod.metadata.uid}`,
    access.asOperator(shard, address, 'postgres'),
    readPrimaryPosition,
  );
  if (reading.state !== 'present') return reading;
  const { inRecovery, position, maxWalSenders, maxReplicationSlots, standbys } = reading.value;
  if (inRecovery)
    return { state: 'unknown', error: new Error(`${pod.metadata.name} is not the primary any more`) };
  const primary = pod.metadata.uid ?? pod.metadata.name;
  const history = memory.histories.get(shard);
  const before = history?.primary === primary ? history.samples : [];
  memory.histories.set(shard, {
    primary,
    samples: withSample(before, { atMs: monotonicMs(), position }, keepMs),
  });
  const bytes = await readBytes(inquiry, address);
  return {
    state: 'present',
    value: { name: pod.metadata.name, address, maxWalSenders, maxReplicationSlots, standbys, bytes },
  };
}

function primariesOf({ set, shard }: Inquiry, sources: Sources): Pod[] {
  const { namespace } = set.metadata;
  return sources.pods.cache
    .byIndex(byCluster, clusterIndexValue(namespace, set.spec.cluster))
    .filter(
      ({ metadata, status }) =>
        metadata.labels?.[shardLabel] === shard &&
        metadata.labels[roleLabel] === 'primary' &&
        metadata.deletionTimestamp === undefined &&
        status?.podIP !== undefined,
    );
}

async function readBytes(inquiry: Inquiry, address: string): Promise<number | undefined> {
  const { set, shard, access, memory, poll, monotonicMs } = inquiry;
  const known = memory.bytes.get(shard);
  const fresh = remembered(inquiry, known, bytesMs);
  if (fresh !== undefined) return fresh;
  const counted = await poll.ask(
    `${keyString(set.metadata)}/${shard}/bytes`,
    access.asOperator(shard, address, 'postgres'),
    async (connection) => ({ bytes: await readServerBytes(connection) }),
  );
  if (counted.state !== 'present') return known?.value;
  memory.bytes.set(shard, { value: counted.value.bytes, atMs: monotonicMs() });
  return counted.value.bytes;
}

/** Bytes of WAL up to the oldest that the primary still has, for a member that may need older. */
export async function readOldest(
  { shard, access, poll }: Inquiry,
  member: string,
  address: string,
): Promise<number | undefined> {
  const oldest = await poll.ask(
    `${member}/oldest`,
    access.asOperator(shard, address, 'postgres'),
    async (connection) => ({ position: await readOldestPosition(connection) }),
  );
  return oldest.state === 'present' ? oldest.value.position : undefined;
}
