import { dump } from 'js-yaml';
import { configParameter } from '../../../postgres/replica-stats.ts';
import {
  type ConfigMap,
  memberSettings,
  serverSettings,
} from '../../sharded-cluster/desired/patroni-config.ts';
import { bytesOf } from '../../sharded-cluster/desired/quantity.ts';
import { hashOf } from '../../sharded-cluster/hash.ts';
import type { ShardedCluster } from '../../sharded-cluster/model.ts';
import type { ReadReplicaSet } from '../model.ts';
import { replicaPod, replicasConfigMap } from '../names.ts';
import { ownedMetadata } from './owned-object.ts';

/** What the configuration of the members in a shard is made from. */
export interface ReplicaConfigOptions {
  readonly parameters: Readonly<Record<string, string>>;
  /** Member of the shard to stream from; none: the primary, whoever that is. */
  readonly upstream: string | undefined;
}

/** The ConfigMap with the members' `patroni.yml`, and the mark by which a member tells that it has read it. */
export function replicaConfig(
  set: ReadReplicaSet,
  cluster: ShardedCluster,
  shard: string,
  options: ReplicaConfigOptions,
): { readonly configMap: ConfigMap; readonly mark: string } {
  const { name } = set.metadata;
  const first = replicaPod(name, shard, 0);
  const upstream = set.spec.source === 'cascade' ? first : options.upstream;
  const mark = hashOf({ upstream: upstream ?? '', parameters: JSON.stringify(options.parameters) });
  const settings = (follows: string | undefined): string =>
    dump(
      {
        ...memberSettings(cluster, shard),
        // Never promoted, never waited for by a commit.
        tags: {
          nofailover: true,
          nosync: true,
          ...(follows === undefined ? {} : { replicatefrom: follows }),
        },
        postgresql: serverSettings(
          // Never promoted, they have no use for the primary's logical slots.
          { ...options.parameters, sync_replication_slots: 'off', [configParameter]: mark },
          copyOptions(set),
        ),
      },
      { lineWidth: -1, noRefs: true },
    );
  return {
    mark,
    configMap: {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: ownedMetadata(set, shard, replicasConfigMap(name, shard)),
      data: {
        'patroni.yml': settings(upstream),
        // Nobody can follow himself: the first of a cascade follows the primary. A member's own file is used by its start.
        [`${first}.yml`]: settings(upstream === first ? undefined : upstream),
      },
    },
  };
}

/** pg_basebackup takes kilobytes a second. */
function copyOptions({ spec }: ReadReplicaSet): Record<string, string> {
  return spec.maxCloneRate === undefined
    ? {}
    : { 'max-rate': String(Math.floor(bytesOf(spec.maxCloneRate) / 1024)) };
}
