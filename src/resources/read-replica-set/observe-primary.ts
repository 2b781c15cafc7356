import { readOldestPosition, readPrimaryPosition, readServerBytes } from '../../postgres/replica-stats.ts';
import { keyString } from '../../runtime/kubernetes-object.ts';
import { type Reading, readingOf } from '../../runtime/reading.ts';
import { isPodReady, type Pod } from '../sharded-cluster/kubernetes.ts';
import { roleLabel, shardLabel } from '../sharded-cluster/names.ts';
import { byCluster, clusterIndexValue, type Sources } from '../sharded-cluster/sources.ts';
import { askBeside, type Inquiry, remembered } from './inquiry.ts';
import type { PrimaryFacts } from './model.ts';
import { type Sample, withLook } from './staleness.ts';

/** For how long the size of all data is good. */
const bytesMs = 60_000;
const countLimits = { connectTimeoutMs: 1_500, statementTimeoutMs: 30_000 };

/** How far back the history of a primary reaches, and how far with every look. */
export interface HistorySpan {
  readonly keepMs: number;
  readonly fineMs: number;
}

/** What a primary says, and where it has been. */
export interface PrimaryReading {
  readonly facts: Reading<PrimaryFacts>;
  /** `undefined` while there is no single primary. While that does not answer it is what was seen before. */
  readonly history: readonly Sample[] | undefined;
}

/**
 * Asks the primary of a shard where it is, and adds that to its history. The history goes on over a failover, as the WAL does: a
 * member that stood still before it is no fresher after it.
 */
export async function readPrimary(
  inquiry: Inquiry,
  sources: Sources,
  { keepMs, fineMs }: HistorySpan,
): Promise<PrimaryReading> {
  const { set, shard, access, memory, poll, monotonicMs } = inquiry;
  const [pod, ...others] = primariesOf(inquiry, sources);
  const address = pod?.status?.podIP;
  if (pod === undefined || address === undefined || others.length > 0)
    return silent(`shard ${shard} has no single primary`);
  const reading = await poll.ask(
    `${keyString(set.metadata)}/${pod.metadata.uid}`,
    access.asOperator(shard, address, 'postgres'),
    async (connection) => {
      const askedMs = monotonicMs();
      const primary = await readPrimaryPosition(connection);
      return { ...primary, askedMs, answeredMs: monotonicMs() };
    },
  );
  const before = memory.histories.get(shard);
  if (reading.state !== 'present') return { facts: reading, history: before };
  const { value } = reading;
  if (value.inRecovery) return silent(`${pod.metadata.name} is not the primary any more`);
  const history = withLook(before ?? [], value, keepMs, fineMs);
  memory.histories.set(shard, history);
  const { name } = pod.metadata;
  const bytes = bytesOf(inquiry, address);
  return {
    facts: {
      state: 'present',
      value: { ...value, name, address, bytes },
    },
    history,
  };
}

/** Whether a Service that leads to the primary of a shard leads to somebody. */
export function hasReadyPrimary(
  place: Pick<Inquiry, 'set' | 'shard'>,
  sources: Pick<Sources, 'pods'>,
): boolean {
  return primariesOf(place, sources).some(isPodReady);
}

function silent(message: string): PrimaryReading {
  return { facts: { state: 'unknown', error: new Error(message) }, history: undefined };
}

function primariesOf({ set, shard }: Pick<Inquiry, 'set' | 'shard'>, sources: Pick<Sources, 'pods'>): Pod[] {
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

/** What was counted last. Counting opens every file of the server, so no look at lag waits for it. */
function bytesOf(inquiry: Inquiry, address: string): number | undefined {
  const { shard, memory } = inquiry;
  const known = memory.bytes.get(shard);
  if (remembered(inquiry, known, bytesMs) === undefined)
    askBeside(memory, `bytes of ${shard}`, () => countBytes(inquiry, address));
  return known?.value;
}

async function countBytes(
  { shard, access, memory, connections, monotonicMs }: Inquiry,
  address: string,
): Promise<void> {
  const options = { ...access.asOperator(shard, address, 'postgres'), ...countLimits };
  const counted = await readingOf(() => connections.use(options, readServerBytes));
  if (counted.state === 'present') memory.bytes.set(shard, { value: counted.value, atMs: monotonicMs() });
}

/** Bytes of WAL up to the oldest that a server still has, for a member that may need older. */
export async function readOldest(
  { set, shard, access, poll }: Pick<Inquiry, 'set' | 'shard' | 'access' | 'poll'>,
  member: string,
  address: string,
): Promise<number | undefined> {
  const oldest = await poll.ask(
    // Sets of other namespaces have members of the same name, and what one server has says nothing of the next.
    `${keyString(set.metadata)}/${member}/oldest at ${address}`,
    access.asOperator(shard, address, 'postgres'),
    async (connection) => ({ position: await readOldestPosition(connection) }),
  );
  return oldest.state === 'present' ? oldest.value.position : undefined;
}
