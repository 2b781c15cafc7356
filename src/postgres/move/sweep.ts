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
  readonly bucket: number | null;
}

/** Prepared transactions of moves that are older than so long, in a shard's application database. */
export async function readPreparedMoves(
  connection: Connection,
  olderThanMs: number,
): Promise<PreparedMove[]> {
  const rows = await connection.query<Row>(
    statement(
      `SELECT x.gid, m.move, m.group_name AS group, m.bucket FROM pg_prepared_xacts x
        LEFT JOIN herdsman.moves m ON m.move LIKE '%.' || split_part(x.gid, '_', 2)
        WHERE x.database = current_database() AND x.gid LIKE 'hm\\_%'
          AND x.prepared < clock_timestamp() - $1 * interval '1 millisecond' ORDER BY x.gid`,
      olderThanMs,
    ),
  );
  return rows.flatMap(({ gid, move, group, bucket }) => {
    const id = parseGid(gid)?.id;
    if (id === undefined) return [];
    const guard = move === null || group === null || bucket === null ? undefined : { move, group, bucket };
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
