import { managedParameters, parameterMinimums } from '../../../api/v1alpha1/parameters.ts';
import type { ShardedClusterSpec } from '../../../api/v1alpha1/sharded-cluster.ts';
import { bytesOf } from './quantity.ts';
import { memberSize, slotWalLimit, tune } from './tuning.ts';

/** Where the Secret `shop-s0-tls` is mounted in a member. */
export const tlsDirectory = '/etc/herdsman/tls';
/** Directory of PostgreSQL's local socket. */
export const socketDirectory = '/run/postgresql';

/** What replication, Patroni, moves of buckets and the security baseline rely on. */
const required: Readonly<Record<string, string>> = {
  hot_standby: 'on',
  password_encryption: 'scram-sha-256',
  ssl: 'on',
  ssl_ca_file: `${tlsDirectory}/ca.crt`,
  ssl_cert_file: `${tlsDirectory}/tls.crt`,
  ssl_key_file: `${tlsDirectory}/tls.key`,
  unix_socket_directories: socketDirectory,
  wal_level: 'logical',
};

/** What is better than PostgreSQL's default in a pod, unless the user knows better. */
const defaults: Readonly<Record<string, string>> = {
  hot_standby_feedback: 'on',
  // Pods have none unless they ask for them, and PostgreSQL dies of SIGBUS when it takes the node's.
  huge_pages: 'off',
  log_line_prefix: '%m [%p] %q%u@%d ',
  log_lock_waits: 'on',
  shared_preload_libraries: 'pg_stat_statements',
  // Streams to read models go on from a standby that takes over.
  sync_replication_slots: 'on',
  track_io_timing: 'on',
  // Commits wait until a standby follows the new primary, and it tries again only after this time.
  wal_retrieve_retry_interval: '200ms',
  // A frozen peer is noticed within Patroni's ttl, not after PostgreSQL's minute.
  wal_receiver_timeout: '15s',
  wal_sender_timeout: '15s',
};

/** Set by Patroni or the operator, or a way round the security of the pod; admission refuses the same. */
const refused: ReadonlySet<string> = new Set([...Object.keys(required), ...Object.keys(managedParameters)]);

/** A parameter that cannot be used, and why. */
export interface ParameterProblem {
  readonly name: string;
  readonly message: string;
}

/** Parameters of the user that cannot be used; the server is the judge of all others. */
export function parameterProblems(parameters: Readonly<Record<string, string>>): ParameterProblem[] {
  return Object.entries(parameters).flatMap(([name, value]) => {
    const message = problemOf(name, value);
    return message === undefined ? [] : [{ name, message }];
  });
}

function problemOf(name: string, value: string): string | undefined {
  if (!/^[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)?$/.test(name)) {
    return `"${name}" is not the name of a parameter`;
  }
  const key = name.toLowerCase();
  if (refused.has(key)) return `${key} is set by Herdsman: remove it`;
  if (hasControlCharacter(value)) return `the value of ${key} contains a control character`;
  const minimum = parameterMinimums[key];
  if (minimum !== undefined && !(Number(value) >= minimum)) return `${key} must be at least ${minimum}`;
  return undefined;
}

function hasControlCharacter(value: string): boolean {
  return [...value].some((character) => character < ' ' || character === '\u007f');
}

/** What the parameters of a member are made from. */
export type ParameterSource = Pick<ShardedClusterSpec, 'postgres' | 'resources' | 'storage'>;

/**
 * All parameters of the servers: the user's win over those tuned from the size, these over Herdsman's defaults; what
 * Herdsman requires wins over all. Names are in lower case and in order. Parameters with a problem are left out.
 */
export function serverParameters(
  spec: ParameterSource,
  userParameters: Readonly<Record<string, string>> = spec.postgres.parameters,
): Record<string, string> {
  const problems = new Set(parameterProblems(userParameters).map(({ name }) => name));
  const usable = Object.entries(userParameters)
    .filter(([name]) => !problems.has(name))
    .map(([name, value]): [string, string] => [name.toLowerCase(), value]);
  const merged = {
    ...defaults,
    // Tuned or not: a member that never comes back must not fill the volume of its primary.
    max_slot_wal_keep_size: slotWalLimit(bytesOf(spec.storage.size)),
    ...Object.fromEntries(
      Object.entries(parameterMinimums).map(([name, minimum]) => [name, String(minimum)]),
    ),
    ...(spec.postgres.tuning === 'auto' ? tune(memberSize(spec)) : {}),
    ...Object.fromEntries(usable),
    ...required,
  };
  return Object.fromEntries(Object.entries(merged).sort(([a], [b]) => (a < b ? -1 : 1)));
}
