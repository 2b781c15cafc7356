import { durationMs } from '../../../api/v1alpha1/duration.ts';
import type { PoolerConfigSpec } from '../../../api/v1alpha1/pooler-config.ts';
import { poolerRole } from '../../../postgres/roles.ts';
import { readService } from '../../read-replica-set/names.ts';
import { hashOf } from '../../sharded-cluster/hash.ts';
import { postgresPort, readOnlyService, readWriteService, serviceHost } from '../../sharded-cluster/names.ts';
import type { PoolerConfig } from '../model.ts';
import { instanceHost, poolerPort } from '../names.ts';
import type { DatabaseSize } from '../sizing.ts';

/** Where the files of an instance are. */
export const settingsDirectory = '/etc/herdsman/pooler';
/** Where an instance listens for what is in its own pod. */
export const socketDirectory = '/run/pgbouncer';

/** File with what all instances share, and the one with who may log in. */
const sharedFile = 'pgbouncer.ini';
const accessFile = 'hba';
/** File with the seconds after which the instance's pod itself ends a pause. */
export const maxPauseFile = 'max-pause';

/** File that leads PgBouncer to the resolver in its pod. */
export const resolverSettingsFile = 'resolv.conf';
/**
 * File with the servers that clients are held back for while they are away: host, port, for how many seconds, `query_wait_timeout`,
 * databases.
 */
export const serversFile = 'servers';
/** Where the names of servers are looked up, in the pod itself. */
export const resolverPort = 5300;
/** What PgBouncer's own resolver (c-ares) reads. It asks again until it is answered, more and more seldom. */
const resolverSettings = `nameserver 127.0.0.1:${resolverPort}\noptions ndots:0 attempts:10\n`;

/** Who may use the admin console: the operator and, to look only, whoever has the statistics' password. */
export const consoleUsers = { admin: 'herdsman', stats: 'stats' } as const;
/** The user of the pod itself, who comes by the socket and needs no password. */
const localUser = 'pgbouncer';
/** Users that reach nothing but the console, or nothing at all from outside. */
export const ownUsers: readonly string[] = [consoleUsers.admin, consoleUsers.stats, localUser, poolerRole];

/** Marks a revision in a list that PgBouncer shows and that means nothing to clients. */
const revisionPrefix = 'herdsman_revision_';

/** What the settings are made from. */
export interface SettingsInput {
  readonly pooler: PoolerConfig;
  /** Name of the database on the servers. */
  readonly database: string;
  readonly sizes: readonly DatabaseSize[];
  readonly monitoring: string;
  readonly instances: number;
  /** What else is in the files: a change of it is a change of the revision. */
  readonly certificates: Readonly<Record<string, string>>;
}

/** The files of all instances, and the revision that they carry. */
export interface SettingsFiles {
  readonly files: Readonly<Record<string, string>>;
  readonly revision: string;
}

/** Writes the files: one that all instances share, and a short one for each. */
export function settingsFiles(input: SettingsInput): SettingsFiles {
  const { pooler } = input;
  const ordinals = Array.from({ length: input.instances }, (_, ordinal) => ordinal);
  // What is looked at once a second cannot tell less than two seconds from none.
  const maxPause = `${Math.max(2, seconds(pooler.spec.maxPause))}\n`;
  return stamped({
    certificates: input.certificates,
    shared: {
      [sharedFile]: sections(input, ordinals),
      [accessFile]: hostBasedAuthentication(pooler.spec.tls.required),
      [maxPauseFile]: maxPause,
      [resolverSettingsFile]: resolverSettings,
      [serversFile]: heldServers(input),
    },
    ignored: pooler.spec.parameters.ignore_startup_parameters ?? 'extra_float_digits',
    ordinals,
  });
}

/** The files that are there, with the revision that other certificates give them; `undefined` when they are not whole. */
export function restamped(
  files: Readonly<Record<string, string>>,
  certificates: SettingsInput['certificates'],
): SettingsFiles | undefined {
  const names = [sharedFile, accessFile, maxPauseFile, resolverSettingsFile, serversFile];
  const ignored = /^ignore_startup_parameters = (.*)$/m.exec(files[instanceFileName(0)] ?? '')?.[1];
  if (ignored === undefined || names.some((name) => files[name] === undefined)) return undefined;
  return stamped({
    certificates,
    shared: Object.fromEntries(names.map((name) => [name, files[name] ?? ''])),
    ignored: ignored.slice(0, ignored.lastIndexOf(`,${revisionPrefix}`)),
    ordinals: Object.keys(files).flatMap((name) => instanceOf(name) ?? []),
  });
}

interface Unstamped {
  readonly certificates: SettingsInput['certificates'];
  readonly shared: Readonly<Record<string, string>>;
  readonly ignored: string;
  readonly ordinals: readonly number[];
}

function stamped({ certificates, shared, ignored, ordinals }: Unstamped): SettingsFiles {
  const revision = hashOf({ ...certificates, ...shared, ignored });
  const instances = ordinals.map((ordinal): [string, string] => [
    instanceFileName(ordinal),
    instanceFile(ordinal, `${ignored},${revisionPrefix}${revision}`),
  ]);
  return { revision, files: { ...shared, ...Object.fromEntries(instances) } };
}

function instanceFileName(ordinal: number): string {
  return `instance-${ordinal}.ini`;
}

function instanceOf(fileName: string): number | undefined {
  const ordinal = /^instance-(\d+)\.ini$/.exec(fileName)?.[1];
  return ordinal === undefined ? undefined : Number(ordinal);
}

/** The revision that `SHOW CONFIG` tells of in `ignore_startup_parameters`. */
export function revisionOf(ignoredParameters: string): string | undefined {
  const entry = ignoredParameters.split(',').find((name) => name.trim().startsWith(revisionPrefix));
  return entry?.trim().slice(revisionPrefix.length);
}

/**
 * Peers are numbered from 1. The shared file ends in `[pgbouncer]`, which goes on here. The revision is the last line: PgBouncer
 * reads nothing more after a line that it does not take, and what it read half of it must not show as taken.
 */
function instanceFile(ordinal: number, ignored: string): string {
  return [
    `%include ${settingsDirectory}/${sharedFile}`,
    `peer_id = ${ordinal + 1}`,
    `ignore_startup_parameters = ${ignored}`,
    '',
  ].join('\n');
}

function sections(input: SettingsInput, ordinals: readonly number[]): string {
  const { pooler, sizes } = input;
  const { namespace, name } = pooler.metadata;
  return [
    '[databases]',
    ...sizes.map((size) => databaseLine(input, size)),
    '',
    '[users]',
    ...userLines(input),
    '',
    '[peers]',
    ...ordinals.map(
      (ordinal) =>
        // Cancels come in bursts: every client may send one.
        `${ordinal + 1} = host=${instanceHost(name, ordinal, namespace)} port=${poolerPort} pool_size=${pooler.spec.maxClientConnections}`,
    ),
    '',
    '[pgbouncer]',
    ...settings(pooler.spec, sizes).map(([key, value]) => `${key} = ${value}`),
    '',
  ].join('\n');
}

function settings(spec: PoolerConfigSpec, sizes: readonly DatabaseSize[]): [string, string | number][] {
  const { ignore_startup_parameters: _merged, ...parameters } = spec.parameters;
  const { timeouts } = spec;
  const made: Record<string, string | number> = {
    listen_addr: '*',
    listen_port: poolerPort,
    unix_socket_dir: socketDirectory,
    // A file that outlives its container would keep the next one from starting.
    pidfile: '',
    auth_type: 'hba',
    auth_hba_file: `${settingsDirectory}/${accessFile}`,
    auth_file: `${settingsDirectory}/users`,
    auth_user: poolerRole,
    auth_query: 'SELECT role_name, verifier FROM herdsman.login($1)',
    admin_users: `${consoleUsers.admin},${localUser}`,
    stats_users: consoleUsers.stats,
    client_tls_sslmode: spec.tls.required ? 'require' : 'allow',
    client_tls_ca_file: `${settingsDirectory}/ca.crt`,
    client_tls_cert_file: `${settingsDirectory}/tls.crt`,
    client_tls_key_file: `${settingsDirectory}/tls.key`,
    server_tls_sslmode: 'verify-full',
    server_tls_ca_file: `${settingsDirectory}/ca.crt`,
    server_tls_cert_file: `${settingsDirectory}/client.crt`,
    server_tls_key_file: `${settingsDirectory}/client.key`,
    pool_mode: spec.poolMode,
    max_client_conn: spec.maxClientConnections,
    default_pool_size: Math.min(...sizes.map((size) => size.poolSize)),
    min_pool_size: spec.minPoolSize,
    reserve_pool_size: spec.reservePoolSize,
    max_prepared_statements: spec.maxPreparedStatements,
    server_reset_query: spec.serverResetQuery,
    query_wait_timeout: seconds(timeouts.queryWait),
    query_timeout: seconds(timeouts.query),
    idle_transaction_timeout: seconds(timeouts.idleTransaction),
    client_idle_timeout: seconds(timeouts.clientIdle),
    server_idle_timeout: seconds(timeouts.serverIdle),
    server_lifetime: seconds(timeouts.serverLifetime),
    // A server that is away is tried again soon: until one has let it in, PgBouncer turns away whoever asks.
    server_login_retry: 0.1,
    server_connect_timeout: connectSeconds(spec.maxPause),
    resolv_conf: `${settingsDirectory}/${resolverSettingsFile}`,
    // Each attempt asks anew whether there is somebody to log in to.
    dns_max_ttl: 0,
    dns_nxdomain_ttl: 1,
    // A peer that vanished without a word is noticed within seconds.
    tcp_keepidle: 5,
    tcp_keepintvl: 2,
    tcp_keepcnt: 3,
    tcp_user_timeout: 10_000,
    // One line for each connection is noise, and probes are connections.
    log_connections: 0,
    log_disconnections: 0,
  };
  return Object.entries({ ...made, ...parameters });
}

/** How long an attempt to connect may last: its name is looked up for as long as clients are held back. */
export function connectSeconds(maxPause: string): number {
  return seconds(maxPause) + 5;
}

function heldServers({ pooler, sizes }: SettingsInput): string {
  const holdSeconds = (durationMs(pooler.spec.maxPause) ?? 0) / 1000;
  if (holdSeconds === 0) return '';
  const queryWait = seconds(pooler.spec.timeouts.queryWait);
  const shards = [...new Set(sizes.map(({ shard }) => shard))];
  return shards
    .map((shard) => {
      const databases = sizes.filter((size) => size.shard === shard).map(({ name }) => name);
      return `${serverHost(pooler, shard)} ${postgresPort} ${holdSeconds} ${queryWait} ${databases.join(',')}\n`;
    })
    .join('');
}

function serverHost({ spec, metadata }: PoolerConfig, shard: string): string {
  return serviceHost(serviceOf(spec.target, shard), metadata.namespace);
}

function databaseLine({ pooler, database }: SettingsInput, size: DatabaseSize): string {
  const { spec } = pooler;
  const host = serverHost(pooler, size.shard);
  const mode = spec.databases.find((candidate) => candidate.name === size.name)?.poolMode;
  const entries = [
    `host=${host}`,
    `port=${postgresPort}`,
    `dbname=${database}`,
    `pool_size=${size.poolSize}`,
    `max_db_connections=${size.maxConnections}`,
    ...(mode === undefined ? [] : [`pool_mode=${mode}`]),
  ];
  return `${size.name} = ${entries.join(' ')}`;
}

function serviceOf({ cluster, role, readReplicaSet }: PoolerConfigSpec['target'], shard: string): string {
  if (readReplicaSet !== undefined) return readService(readReplicaSet, shard);
  return role === 'rw' ? readWriteService(cluster, shard) : readOnlyService(cluster, shard);
}

function userLines({ pooler, monitoring }: SettingsInput): string[] {
  const { users } = pooler.spec;
  const lines = users.flatMap(({ name, poolMode, poolSize }) => {
    const entries = [
      ...(poolMode === undefined ? [] : [`pool_mode=${poolMode}`]),
      ...(poolSize === undefined ? [] : [`pool_size=${poolSize}`]),
    ];
    return entries.length === 0 ? [] : [`${name} = ${entries.join(' ')}`];
  });
  const own = users.some((user) => user.name === monitoring) ? [] : [`${monitoring} = pool_size=1`];
  return [`${poolerRole} = pool_size=1 pool_mode=transaction`, ...own, ...lines];
}

/** The console by password (operator) or from the pod itself; everything else as the servers themselves decide. */
function hostBasedAuthentication(tlsRequired: boolean): string {
  return [
    `local pgbouncer ${localUser} peer`,
    `hostssl pgbouncer ${consoleUsers.admin},${consoleUsers.stats} all scram-sha-256`,
    `host pgbouncer all all reject`,
    `host all ${ownUsers.join(',')} all reject`,
    `${tlsRequired ? 'hostssl' : 'host'} all all all scram-sha-256`,
    '',
  ].join('\n');
}

function seconds(duration: string): number {
  return Math.ceil((durationMs(duration) ?? 0) / 1000);
}
