import type { PoolerConfigSpec } from '../../api/v1alpha1/pooler-config.ts';

/** What a PoolerConfig stands in front of, as written: defaults may be missing. */
export type Target = Pick<PoolerConfigSpec['target'], 'readReplicaSet'> & {
  readonly role?: PoolerConfigSpec['target']['role'] | undefined;
  /** Sets that are read beside the target. */
  readonly alsoReads?: readonly string[];
};

/** The servers of a cluster that connections are counted on. */
type Servers = 'primaries' | 'standbys' | `members of ${string}`;

/**
 * How many of a cluster's PoolerConfigs may be connected to the same servers at once, the one in question among them. Those that
 * read a ReadReplicaSet whose primary stands in for its members share the primary with those that write.
 */
export function sharersOf(
  target: Target,
  all: readonly Target[],
  fallsBack: (readReplicaSet: string) => boolean,
): number {
  const serversOf = ({ role = 'rw', readReplicaSet, alsoReads = [] }: Target): readonly Servers[] => {
    if (role === 'rw') return ['primaries', ...alsoReads.map((set): Servers => `members of ${set}`)];
    if (readReplicaSet === undefined) return ['standbys'];
    return [`members of ${readReplicaSet}`, ...(fallsBack(readReplicaSet) ? ['primaries' as const] : [])];
  };
  const counts = serversOf(target).map(
    (servers) => all.filter((other) => serversOf(other).includes(servers)).length,
  );
  return Math.max(1, ...counts);
}
