import { z } from 'zod';
import { type CelRule, cel } from './common.ts';

const network =
  'members listen on port 5432 of every address of their pod; open or close it with a NetworkPolicy';
const files = 'where files lie is part of the image';
const access = 'access rules are made by Herdsman; use spec.tls and spec.credentials';
const recovery = 'Patroni decides what a member follows';
const durability = 'use spec.durability';
const certificates = 'use spec.tls';
const needed = 'standbys, failover and moving buckets need the value that Herdsman sets';

/** PostgreSQL parameters that Herdsman or Patroni sets itself, with what a user can do instead. */
export const managedParameters: Readonly<Record<string, string>> = {
  cluster_name: 'it is the name of the shard',
  config_file: files,
  data_directory: files,
  external_pid_file: files,
  hba_file: access,
  hot_standby: needed,
  ident_file: access,
  listen_addresses: network,
  password_encryption: 'passwords are stored as scram-sha-256 only',
  port: network,
  primary_conninfo: recovery,
  primary_slot_name: recovery,
  recovery_target: recovery,
  recovery_target_action: recovery,
  recovery_target_inclusive: recovery,
  recovery_target_lsn: recovery,
  recovery_target_name: recovery,
  recovery_target_time: recovery,
  recovery_target_timeline: recovery,
  recovery_target_xid: recovery,
  ssl: certificates,
  ssl_ca_file: certificates,
  ssl_cert_file: certificates,
  ssl_crl_dir: certificates,
  ssl_crl_file: certificates,
  ssl_key_file: certificates,
  ssl_passphrase_command: certificates,
  synchronized_standby_slots: needed,
  synchronous_standby_names: durability,
  unix_socket_directories: network,
  unix_socket_group: network,
  unix_socket_permissions: network,
  wal_level: needed,
  wal_log_hints: needed,
};

function refused([name, instead]: [string, string]): CelRule {
  return {
    rule: `!('${name}' in self)`,
    message: `remove "${name}", which Herdsman sets itself: ${instead}`,
  };
}

/** `spec.postgres.parameters`: what postgresql.conf may say, but for what Herdsman manages. */
export const parameters = z
  .record(
    z.string().max(63),
    z
      .string()
      .max(1024)
      .regex(/^\P{Cc}*$/u)
      .describe('Value, as text.'),
  )
  .default({})
  .describe(
    'PostgreSQL configuration parameters; values are text, so quote numbers. They win over tuning. ' +
      'A restart is made only for those that need one.',
  )
  .meta({
    maxProperties: 200,
    ...cel(
      {
        rule: "self.all(k, k.matches('^[a-z_][a-z0-9_.]{0,62}$'))",
        message:
          'write the names of parameters in lower case, as in pg_settings: letters, digits, "_" and ".", ' +
          'such as "timezone" or "auto_explain.log_min_duration"',
      },
      ...Object.entries(managedParameters).map(refused),
    ),
  });
