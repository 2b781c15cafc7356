import { managedParameters, parametersOf } from './parameters.ts';

/** Patroni sees to it that a standby has what its primary has of these, and ignores what is said of them elsewhere. */
export const sharedParameters = [
  'max_connections',
  'max_locks_per_transaction',
  'max_prepared_transactions',
  'max_replication_slots',
  'max_wal_senders',
  'max_worker_processes',
  'track_commit_timestamp',
];

const access = 'who may connect follows from spec.tls and spec.credentials of the ShardedCluster';

/** Where a set says, or has said for it, what these parameters of its members would. */
const setElsewhere: Readonly<Record<string, string>> = {
  ...Object.fromEntries(
    Object.keys(managedParameters)
      .filter((name) => name.startsWith('ssl'))
      .map((name) => [name, 'use spec.tls of the ShardedCluster']),
  ),
  hba_file: access,
  ident_file: access,
  recovery_min_apply_delay: 'write the delay in spec.applyDelay of the ReadReplicaSet',
  synchronous_standby_names:
    'no commit waits for members of a set; spec.durability of the ShardedCluster says for whom commits wait',
};

/** Parameters of PostgreSQL that members of a ReadReplicaSet may have for themselves. */
export const replicaParameters = parametersOf(setElsewhere);
