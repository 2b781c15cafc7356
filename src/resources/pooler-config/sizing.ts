import type { PoolerConfigSpec } from '../../api/v1alpha1/pooler-config.ts';
import type { PoolerDatabase } from './databases.ts';
import type { Taken } from './sharers.ts';

/** What a server allows. */
export interface ServerLimits {
  /** `max_connections`. */
  readonly maxConnections: number;
  /** `superuser_reserved_connections` and `reserved_connections`. */
  readonly reserved: number;
}

/** What pools are sized for. */
export interface SizingInput {
  readonly spec: Pick<
    PoolerConfigSpec,
    'sizing' | 'poolSize' | 'reservePoolSize' | 'minPoolSize' | 'reservedConnections' | 'databases' | 'users'
  >;
  readonly databases: readonly PoolerDatabase[];
  readonly limits: ReadonlyMap<string, ServerLimits>;
  /** Instances that may be connected at once: those that are there and those that are wanted. */
  readonly instances: number;
  /** PoolerConfigs that share the servers, with this one. */
  readonly poolers: number;
  /** What the others have of a server at most. */
  readonly taken: Taken;
  /** What this one has of it at most, by its last sizes. */
  readonly held: number;
}

/** Sizes of one database. */
export interface DatabaseSize extends PoolerDatabase {
  /** Connections of each user and instance. */
  readonly poolSize: number;
  /** Connections of an instance over all users: PgBouncer itself never opens more. */
  readonly maxConnections: number;
}

/** The sizes, or why there are none. */
export type Sizing =
  | {
      readonly kind: 'sized';
      readonly databases: readonly DatabaseSize[];
      /** Connections of all instances to the server with the least room, and the room that it has. */
      readonly total: number;
      readonly limit: number;
      readonly message: string;
    }
  | { readonly kind: 'refused'; readonly message: string }
  /** There is a share for it, which others have not given up yet. */
  | { readonly kind: 'waiting'; readonly message: string };

/** Connections of a database beside the pool of its main user: one to ask for verifiers, one for monitoring. */
const aside = 2;

/**
 * Shares what each server has left over the poolers, their instances, and the databases that lead to it. The caps are hard
 * (`max_db_connections`), so all together never open more than the server has for them.
 */
export function sizePools(input: SizingInput): Sizing {
  const { spec, databases, limits, instances } = input;
  const sized: DatabaseSize[] = [];
  let tightest: { total: number; limit: number; message: string } | undefined;
  for (const shard of new Set(databases.map((database) => database.shard))) {
    const server = limits.get(shard);
    if (server === undefined)
      return { kind: 'refused', message: `the limits of shard ${shard} are not known yet` };
    const own = databases.filter((database) => database.shard === shard);
    const room = roomOf(server, input);
    const attempt = (limit: number) => {
      const sizes = own.map((database) => sizeOf(spec, database, Math.floor(limit / instances / own.length)));
      const total = instances * sizes.reduce((sum, size) => sum + size.maxConnections, 0);
      const fits = sizes.every((size) => size.poolSize >= 1 && size.poolSize + aside <= size.maxConnections);
      return { sizes, total, fits: fits && total <= limit };
    };
    const { limit } = room;
    const { sizes, total, fits } = attempt(limit);
    const sum = arithmetic(input, server, { shard, databases: own.length, room });
    if (!fits) {
      const message = refusal(spec, sizes, { sum, instances, total });
      return attempt(room.share).fits
        ? { kind: 'waiting', message: waitingFor(shard, room, input.taken) }
        : { kind: 'refused', message };
    }
    sized.push(...sizes);
    if (tightest === undefined || limit - total < tightest.limit - tightest.total)
      tightest = { total, limit, message: sum };
  }
  if (tightest === undefined) return { kind: 'refused', message: 'the cluster has no shard yet' };
  const message = `${tightest.message}${cutsOf(spec, sized)}`;
  return { kind: 'sized', databases: sized, ...tightest, message };
}

/** Connections of a server for all PoolerConfigs, for each of them, and for this one at present. */
export interface Room {
  readonly all: number;
  readonly share: number;
  readonly limit: number;
}

/** A share counts once others have given it up; what one has already it keeps as far as its share goes. */
export function roomOf(
  server: ServerLimits,
  {
    spec,
    poolers,
    taken,
    held,
  }: Pick<SizingInput, 'poolers' | 'taken' | 'held'> & {
    readonly spec: Pick<PoolerConfigSpec, 'reservedConnections'>;
  },
): Room {
  const all = Math.max(0, server.maxConnections - server.reserved - spec.reservedConnections);
  const share = Math.floor(all / poolers);
  return { all, share, limit: Math.min(share, Math.max(all - taken.total, held, 0)) };
}

/** What others have to give up first. */
export function waitingFor(shard: string, { all, share }: Room, { names, total }: Taken): string {
  const who = `${names.length === 1 ? 'PoolerConfig' : 'PoolerConfigs'} ${names.map((name) => `"${name}"`).join(', ')}`;
  return `${who} may still open ${Math.min(total, all)} of the ${all} connections that shard ${shard} has for poolers, and the share of this one is ${share}: it waits until they give it up; one that is refused does so when its spec is put right, one that is deleted when its pods are gone`;
}

function sizeOf(spec: SizingInput['spec'], database: PoolerDatabase, share: number): DatabaseSize {
  const own = spec.databases.find((candidate) => candidate.name === database.name)?.poolSize;
  const asked = own ?? spec.poolSize;
  // Pools that users have for themselves are on top of the main user's.
  const users = spec.users.reduce((sum, user) => sum + (user.poolSize ?? 0), 0);
  const beside = aside + spec.reservePoolSize + users;
  if (spec.sizing === 'manual' && asked !== undefined)
    return { ...database, poolSize: asked, maxConnections: asked + beside };
  const poolSize = Math.min(share - beside, own ?? Number.POSITIVE_INFINITY);
  return { ...database, poolSize, maxConnections: Math.min(share, poolSize + beside) };
}

interface Shares {
  readonly shard: string;
  readonly databases: number;
  readonly room: Room;
}

function arithmetic(
  { spec, instances, poolers, taken }: SizingInput,
  server: ServerLimits,
  { shard, databases, room: { all, share, limit } }: Shares,
): string {
  const parts = [
    `max_connections ${server.maxConnections} of shard ${shard}`,
    `- ${server.reserved} reserved by PostgreSQL`,
    `- ${spec.reservedConnections} reserved by spec.reservedConnections`,
  ];
  const divided = poolers === 1 ? '' : `, shared by ${poolers} PoolerConfigs`;
  const late =
    limit < share ? `, of which ${taken.names.join(', ')} may open ${Math.min(taken.total, all)} still,` : '';
  return `${parts.join(' ')}${divided}${late} leaves ${limit} for ${count(instances, 'instance')} x ${count(databases, 'database')}`;
}

function refusal(
  spec: SizingInput['spec'],
  sizes: readonly DatabaseSize[],
  found: { sum: string; instances: number; total: number },
): string {
  const needed =
    spec.sizing === 'manual'
      ? found.total
      : found.instances * sizes.length * (1 + aside + spec.reservePoolSize + usersOf(spec));
  return `${found.sum}, and ${needed} are needed: ${remediesOf(spec, sizes, found.instances)}`;
}

/** What the spec has that takes room. */
function remediesOf(spec: SizingInput['spec'], sizes: readonly DatabaseSize[], instances: number): string {
  const isManual = spec.sizing === 'manual';
  const own = spec.databases.filter(
    ({ name, poolSize }) => poolSize !== undefined && sizes.some((size) => size.name === name),
  );
  const users = spec.users.filter(({ poolSize }) => poolSize !== undefined);
  const lower = [
    ...(isManual && own.length < sizes.length ? ['poolSize'] : []),
    ...(isManual ? own.map(({ name }) => `databases[${name}].poolSize`) : []),
    ...users.map(({ name }) => `users[${name}].poolSize`),
    ...(spec.reservePoolSize > 0 ? ['reservePoolSize'] : []),
    ...(instances > 1 ? ['replicas'] : []),
    ...(spec.reservedConnections > 0 ? ['reservedConnections'] : []),
  ];
  const [last = '', ...others] = lower.toReversed();
  if (last === '') return 'raise max_connections';
  const listed = others.length === 0 ? last : `${others.toReversed().join(', ')} or ${last}`;
  return `lower ${listed}, or raise max_connections`;
}

/** What the spec asks of databases that the servers have no room for: with sizing "auto" it is the most, not what there is. */
function cutsOf(spec: SizingInput['spec'], sizes: readonly DatabaseSize[]): string {
  return sizes
    .flatMap(({ name, poolSize }) => {
      const asked = spec.databases.find((database) => database.name === name)?.poolSize ?? poolSize;
      return [
        ...(asked > poolSize ? [`; ${name} gets ${poolSize} of its poolSize ${asked}`] : []),
        ...(spec.minPoolSize > poolSize
          ? [`; ${name} keeps ${poolSize} of minPoolSize ${spec.minPoolSize} open`]
          : []),
      ];
    })
    .join('');
}

function usersOf(spec: SizingInput['spec']): number {
  return spec.users.reduce((sum, user) => sum + (user.poolSize ?? 0), 0);
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? '' : 's'}`;
}
