import type { PoolerConfigSpec } from '../../../api/v1alpha1/pooler-config.ts';
import { roomOf, type ServerLimits, type Sizing, type SizingInput, waitingFor } from '../sizing.ts';

/** What instances are sized for. */
export interface PgpoolSizingInput extends Pick<SizingInput, 'instances' | 'poolers' | 'taken' | 'held'> {
  readonly spec: Pick<PoolerConfigSpec, 'sizing' | 'poolSize' | 'reservedConnections'>;
  readonly database: string;
  readonly shard: string;
  readonly limits: ServerLimits;
}

/** Connections of an instance to each server beside those of its clients: its checks of health and of lag. */
const aside = 2;

/**
 * How many clients an instance serves at a time. Each of them has a connection of its own to the primary and to every member
 * that is read, so the number is what the primary has room for; members have at least as much, or they would not start.
 */
export function sizePgpool(input: PgpoolSizingInput): Sizing {
  const { spec, database, shard, limits, instances, poolers } = input;
  const room = roomOf(limits, input);
  const { limit } = room;
  const share = Math.floor(limit / instances) - aside;
  const poolSize = spec.sizing === 'manual' ? (spec.poolSize ?? share) : share;
  const total = instances * (poolSize + aside);
  const message =
    `max_connections ${limits.maxConnections} of shard ${shard} - ${limits.reserved} reserved by PostgreSQL - ` +
    `${spec.reservedConnections} reserved by spec.reservedConnections${poolers === 1 ? '' : `, shared by ${poolers} PoolerConfigs`} ` +
    `leaves ${limit} for ${instances} instance${instances === 1 ? '' : 's'}, each of which serves ${poolSize} clients at a time ` +
    `and keeps ${aside} connections for its checks`;
  if (poolSize < 1 || total > limit) {
    const needed = spec.sizing === 'manual' ? total : instances * (1 + aside);
    if (needed <= room.share) return { kind: 'waiting', message: waitingFor(shard, room, input.taken) };
    return {
      kind: 'refused',
      message:
        `max_connections ${limits.maxConnections} of shard ${shard} leaves ${limit} connections for ${instances} instances, and ` +
        `${needed} are needed: lower ${spec.sizing === 'manual' ? 'poolSize, ' : ''}replicas or reservedConnections, or raise max_connections`,
    };
  }
  return {
    kind: 'sized',
    databases: [{ name: database, shard, poolSize, maxConnections: poolSize + aside }],
    total,
    limit,
    message,
  };
}
