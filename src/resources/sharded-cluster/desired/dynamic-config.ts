import type { ShardedClusterSpec } from '../../../api/v1alpha1/sharded-cluster.ts';

/** Patroni's dynamic configuration: what `GET /config` returns and `PATCH /config` changes on all members at once. */
export type DynamicConfig = Readonly<Record<string, unknown>>;

/** What a commit really waits for: below three members, waiting would stop all writes when one member is away. */
export function effectiveDurability(
  spec: Pick<ShardedClusterSpec, 'durability' | 'members'>,
): ShardedClusterSpec['durability'] {
  return spec.members < 3 ? 'asynchronous' : spec.durability;
}

/** What the dynamic configuration is made from. */
export type DynamicConfigSource = Pick<ShardedClusterSpec, 'durability' | 'members' | 'tls'>;

/** The whole dynamic configuration of a shard with the servers' parameters. */
export function dynamicConfig(
  spec: DynamicConfigSource,
  parameters: Readonly<Record<string, string>>,
): DynamicConfig {
  const durability = effectiveDurability(spec);
  return {
    // loop_wait + 2 × retry_timeout may not be over ttl: a primary gives up before others may take over.
    ttl: 15,
    loop_wait: 3,
    retry_timeout: 5,
    // A crashed server is started again where it is if no standby that commits waited for can lead; when that takes longer, any
    // other one takes over.
    primary_start_timeout: 10,
    maximum_lag_on_failover: 1048576,
    failsafe_mode: true,
    synchronous_mode: { quorum: 'quorum', synchronous: true, asynchronous: false }[durability],
    synchronous_node_count: 1,
    // Logical slots belong to moves of buckets, read models and users; Patroni drops every slot that it does not know.
    ignore_slots: [{ type: 'logical' }],
    postgresql: {
      use_pg_rewind: true,
      use_slots: true,
      // Nothing that was acknowledged can be on this member alone, unless commits wait for no other.
      remove_data_directory_on_rewind_failure: durability !== 'asynchronous',
      remove_data_directory_on_diverged_timelines: durability !== 'asynchronous',
      parameters,
      pg_hba: hostBasedAuthentication(spec.tls.required),
      pg_ident: identityMaps,
    },
  };
}

/** The certificate of a member (`replication`) may also rewind; its own socket serves Patroni for replication. */
const identityMaps: readonly string[] = [
  'herdsman replication replication',
  'herdsman replication rewind',
  'socket postgres replication',
];

/** Who may connect how: internal identities by certificate or the local socket, all others by SCRAM. */
function hostBasedAuthentication(tlsRequired: boolean): string[] {
  return [
    'local all postgres peer',
    'local replication replication peer map=socket',
    'hostssl replication replication all cert map=herdsman',
    // Standbys look there which slots the primary has.
    'hostssl postgres replication all cert map=herdsman',
    'hostssl all rewind all cert map=herdsman',
    'hostssl all herdsman,herdsman_pooler all cert',
    'host all,replication postgres,replication,rewind,herdsman,herdsman_pooler all reject',
    `${tlsRequired ? 'hostssl' : 'host'} all all all scram-sha-256`,
  ];
}

/** A Patroni as published raises a smaller ttl to this, and reports it so however often it is asked for less. */
const smallestTtl = 20;

/**
 * The merge patch (RFC 7396) that turns the current configuration into the desired one, or `undefined` when nothing
 * differs. Parameters that are no longer desired are set to null; other keys that Patroni or a person set are left.
 */
export function configPatch(current: DynamicConfig, desired: DynamicConfig): DynamicConfig | undefined {
  const patch: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(desired)) {
    if (key === 'postgresql' || (key === 'ttl' && current.ttl === smallestTtl)) continue;
    if (!isEqual(current[key], value)) patch[key] = value;
  }
  const postgresql = postgresqlPatch(asRecord(current.postgresql), asRecord(desired.postgresql));
  if (postgresql !== undefined) patch.postgresql = postgresql;
  return Object.keys(patch).length === 0 ? undefined : patch;
}

function postgresqlPatch(current: DynamicConfig, desired: DynamicConfig): DynamicConfig | undefined {
  const patch: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(desired)) {
    if (key === 'parameters') continue;
    if (!isEqual(current[key], value)) patch[key] = value;
  }
  const parameters: Record<string, unknown> = {};
  const wanted = asRecord(desired.parameters);
  const present = asRecord(current.parameters);
  for (const name of Object.keys(present)) if (!(name in wanted)) parameters[name] = null;
  for (const [name, value] of Object.entries(wanted)) {
    if (!isEqual(present[name], value)) parameters[name] = value;
  }
  if (Object.keys(parameters).length > 0) patch.parameters = parameters;
  return Object.keys(patch).length === 0 ? undefined : patch;
}

function asRecord(value: unknown): DynamicConfig {
  return typeof value === 'object' && value !== null ? (value as DynamicConfig) : {};
}

/** Equality of JSON values; the order of keys does not matter. */
function isEqual(a: unknown, b: unknown): boolean {
  return JSON.stringify(ordered(a)) === JSON.stringify(ordered(b));
}

function ordered(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(ordered);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, item]) => [key, ordered(item)]),
  );
}
