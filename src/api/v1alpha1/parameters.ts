import type { CelRule } from './common.ts';
import { settingsByName } from './settings-by-name.ts';

const access = 'who may connect follows from spec.tls and spec.credentials';
const archiving = 'archiving and restoring belong to backups';
const durability = 'use spec.durability';
const files = 'where files lie is part of the image';
const network = 'members listen on port 5432 of their pod, which a NetworkPolicy opens and closes';
const needed = 'standbys, failover and moves of buckets rely on it';
const patroni = 'Patroni decides what a member follows and when it restarts';
const safety = 'acknowledged commits would be lost in a crash';
const tls = 'use spec.tls';

/** PostgreSQL parameters that Herdsman sets itself, each with what to use instead or why. */
export const managedParameters: Readonly<Record<string, string>> = {
  archive_cleanup_command: archiving,
  archive_command: archiving,
  archive_library: archiving,
  archive_mode: archiving,
  cluster_name: 'it is the name of the member',
  config_file: files,
  data_directory: files,
  data_sync_retry: safety,
  event_source: files,
  external_pid_file: files,
  fsync: safety,
  full_page_writes: safety,
  hba_file: access,
  hot_standby: needed,
  ident_file: access,
  listen_addresses: network,
  password_encryption: 'passwords are stored as scram-sha-256 only',
  port: network,
  primary_conninfo: patroni,
  primary_slot_name: patroni,
  recovery_end_command: archiving,
  recovery_min_apply_delay: patroni,
  recovery_target: archiving,
  recovery_target_action: archiving,
  recovery_target_inclusive: archiving,
  recovery_target_lsn: archiving,
  recovery_target_name: archiving,
  recovery_target_time: archiving,
  recovery_target_timeline: archiving,
  recovery_target_xid: archiving,
  restart_after_crash: patroni,
  restore_command: archiving,
  ssl: tls,
  ssl_ca_file: tls,
  ssl_cert_file: tls,
  ssl_crl_dir: tls,
  ssl_crl_file: tls,
  ssl_key_file: tls,
  ssl_passphrase_command: tls,
  synchronized_standby_slots: needed,
  synchronous_standby_names: durability,
  unix_socket_directories: files,
  unix_socket_group: files,
  unix_socket_permissions: files,
  wal_level: needed,
  wal_log_hints: needed,
};

/** Parameters that may be raised and not lowered: replication and moves of buckets need so many. */
export const parameterMinimums: Readonly<Record<string, number>> = {
  max_logical_replication_workers: 8,
  max_prepared_transactions: 32,
  max_replication_slots: 20,
  max_wal_senders: 20,
  max_worker_processes: 16,
};

function atLeast([name, minimum]: [string, number]): CelRule {
  const value = `self['${name}']`;
  return {
    rule: `!('${name}' in self) || (${value}.matches('^[0-9]{1,9}$') && int(${value}) >= ${minimum})`,
    message: `write at least ${minimum} for "${name}", or leave it out: replication and moves of buckets need so many`,
  };
}

/**
 * What postgresql.conf of a kind's servers may say, but for what Herdsman sets itself; refusals say what to write instead, which
 * is not the same in every kind.
 */
export function parametersOf(instead: Readonly<Record<string, string>> = {}) {
  return settingsByName({
    about:
      'PostgreSQL configuration parameters; values are text, so quote numbers. They win over tuning. ' +
      'A restart is made only for those that need one.',
    value: { pattern: /^\P{Cc}*$/u, about: 'Value, as text.' },
    most: 200,
    names: {
      rule: "self.all(k, k.matches('^[a-z_][a-z0-9_.]{0,62}$'))",
      message:
        'write the names of parameters in lower case, as in pg_settings: letters, digits, "_" and ".", ' +
        'such as "timezone" or "auto_explain.log_min_duration"',
    },
    managed: { ...managedParameters, ...instead },
    rules: Object.entries(parameterMinimums).map(atLeast),
  });
}

/** `spec.postgres.parameters`. */
export const parameters = parametersOf();
