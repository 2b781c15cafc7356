import type { PoolerConfigSpec } from '../../api/v1alpha1/pooler-config.ts';
import type { Pod } from '../sharded-cluster/kubernetes.ts';
import { poolerLabel } from './names.ts';

/** What a PoolerConfig stands in front of, as written: defaults may be missing. */
export type Target = Pick<PoolerConfigSpec['target'], 'readReplicaSet'> & {
  readonly role?: PoolerConfigSpec['target']['role'] | undefined;
  /** Sets that are read beside the target. */
  readonly alsoReads?: readonly string[];
};

/** Another PoolerConfig, with the connections that it may have open to one server. */
export type Sharer = Target & { readonly name: string; readonly total: number };

/** What others have of the same servers, at most; infinite where that is not known. */
export interface Taken {
  readonly names: readonly string[];
  readonly total: number;
}

/** With whom the servers are shared. */
export interface Sharing {
  /** How many share them, the one in question among them. */
  readonly poolers: number;
  readonly taken: Taken;
}

/** The servers of a cluster that connections are counted on. */
type Servers = 'primaries' | 'standbys' | `members of ${string}`;

/**
 * Which of a cluster's PoolerConfigs may be connected to the same servers at once. Those that read a ReadReplicaSet whose primary
 * stands in for its members share the primary with those that write, and so do those that read standbys: of one that is
 * promoted they keep their sessions at first.
 *
 * What is left of PoolerConfigs that are gone may be connected to any server, and nothing says to how much of it: nobody gives up
 * anything for these, but nobody opens more either until they have left.
 */
export function sharersOf(
  target: Target,
  others: readonly Sharer[],
  leaving: readonly string[],
  fallsBack: (readReplicaSet: string) => boolean,
): Sharing {
  const serversOf = ({ role = 'rw', readReplicaSet, alsoReads = [] }: Target): readonly Servers[] => {
    if (role === 'rw') return ['primaries', ...alsoReads.map((set): Servers => `members of ${set}`)];
    if (readReplicaSet === undefined) return ['standbys', 'primaries'];
    return [`members of ${readReplicaSet}`, ...(fallsBack(readReplicaSet) ? ['primaries' as const] : [])];
  };
  const groups = serversOf(target).map((servers) =>
    others.filter((other) => serversOf(other).includes(servers)),
  );
  return {
    poolers: 1 + Math.max(0, ...groups.map((group) => group.length)),
    taken: groups
      .map((group) => takenBy([...group, ...leaving.map(withUnknownTotal)]))
      .reduce((most, next) => (next.total > most.total ? next : most)),
  };
}

/** A PoolerConfig that is present. */
export interface Present {
  readonly name: string;
  /** Of one that has no sizes yet, when it was made: older pods are those of another, which had its name before. */
  readonly madeAt?: string | undefined;
}

/** PoolerConfigs with pods of theirs left, of which none is present: they were deleted, and their clients may go on meanwhile. */
export function leavingOf(pods: readonly Pod[], present: readonly Present[], now: Date): string[] {
  const left = pods.filter(({ metadata }) => {
    const owner = present.find(({ name }) => name === metadata.labels?.[poolerLabel]);
    const { creationTimestamp = '' } = metadata;
    return owner === undefined || (owner.madeAt !== undefined && creationTimestamp < owner.madeAt);
  });
  const names = left
    .filter((pod) => mayBeConnected(pod, now))
    .flatMap(({ metadata }) => metadata.labels?.[poolerLabel] ?? []);
  return [...new Set(names)].toSorted();
}

/** How long after its time a pod may still end: on a node that is lost it stays for good, and its connections do not. */
const lostMs = 300_000;

function mayBeConnected({ metadata, status }: Pod, now: Date): boolean {
  // With the time that it has to end.
  const { deletionTimestamp } = metadata;
  if (deletionTimestamp !== undefined && now.getTime() - Date.parse(deletionTimestamp) > lostMs) return false;
  return status?.phase !== 'Succeeded' && status?.phase !== 'Failed';
}

function withUnknownTotal(name: string): Pick<Sharer, 'name' | 'total'> {
  return { name, total: Number.POSITIVE_INFINITY };
}

function takenBy(group: readonly Pick<Sharer, 'name' | 'total'>[]): Taken {
  const holding = group.filter(({ total }) => total > 0);
  return {
    names: holding.map(({ name }) => name),
    total: holding.reduce((sum, { total }) => sum + total, 0),
  };
}
