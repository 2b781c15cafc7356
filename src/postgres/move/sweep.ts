import { parseGid } from '../../sharding/move/names.ts';
import type { Stray } from '../../sharding/move/sweep.ts';
import type { Connection } from '../connection.ts';
import { quoteLiteral } from '../identifier.ts';
import { PostgresError } from '../postgres-error.ts';
import { statement } from '../statement.ts';

/** A prepared transaction of a move, with the move's eight digits. */
export interface PreparedMove extends Stray {
  readonly id: string;
}

interface Row {
  readonly gid: string;
  readonly move: string | null;
  readonly group: string | null;
  readonly buckets: readonly number[];
}

/** Prepared transactions of moves that are older than so long, in a shard's application database. */
export async function readPreparedMoves(
  connection: Connection,
  olderThanMs: number,
): Promise<PreparedMove[]> {
  const rows = await connection.query<Row>(
    statement(
      `SELECT x.gid, min(m.move) AS move, min(m.group_name) AS group,
          coalesce(array_agg(m.bucket ORDER BY m.bucket) FILTER (WHERE m.bucket IS NOT NULL), '{}') AS buckets
        FROM pg_prepared_xacts x LEFT JOIN herdsman.moves m ON m.move LIKE '%.' || split_part(x.gid, '_', 2)
        WHERE x.database = current_database() AND x.gid LIKE 'hm\\_%'
          AND x.prepared < clock_timestamp() - $1 * interval '1 millisecond' GROUP BY x.gid ORDER BY x.gid`,
      olderThanMs,
    ),
  );
  return rows.flatMap(({ gid, move, group, buckets }) => {
    const id = parseGid(gid)?.id;
    if (id === undefined) return [];
    const guard = move === null || group === null ? undefined : { move, group, buckets };
    return [{ id, gid, guard }];
  });
}

/** Commits or rolls back a prepared transaction; one that is gone is no error. */
export async function resolvePrepared(
  connection: Connection,
  gid: string,
  kind: 'commit' | 'roll-back',
): Promise<void> {
  const verb = kind === 'commit' ? 'COMMIT' : 'ROLLBACK';
  try {
    await connection.query({ text: `${verb} PREPARED ${quoteLiteral(gid)}` });
  } catch (error) {
    if (!(error instanceof PostgresError) || error.sqlstate !== '42704') throw error;
  }
}
