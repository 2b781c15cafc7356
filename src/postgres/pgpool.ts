import type { Connection } from './connection.ts';

/** A server as one instance of Pgpool-II sees it. */
export interface PgpoolNode {
  readonly host: string;
  readonly up: boolean;
  readonly role: 'primary' | 'standby';
  /** Share of the reads: all shares together are 1. */
  readonly share: number;
  readonly lagSeconds: number;
  /** Reads that it was sent. */
  readonly reads: number;
}

/** What an instance of Pgpool-II says of itself. */
export interface PgpoolFacts {
  /** `syslog_ident`. */
  readonly ident: string;
  readonly nodes: readonly PgpoolNode[];
  /** Clients that are connected, this one not counted. */
  readonly clients: number;
}

/** Asks an instance (4.6), by the statements that it answers itself. */
export async function readPgpool(connection: Connection): Promise<PgpoolFacts> {
  const shown = await connection.query<{ syslog_ident: string }>({ text: 'PGPOOL SHOW syslog_ident' });
  const nodes = await connection.query<Record<string, string>>({ text: 'SHOW POOL_NODES' });
  const processes = await connection.query<{ status: string }>({ text: 'SHOW POOL_PROCESSES' });
  const busy = processes.filter(({ status }) => status !== 'Wait for connection');
  return {
    ident: shown[0]?.syslog_ident ?? '',
    nodes: nodes.map(nodeOf),
    clients: Math.max(0, busy.length - 1),
  };
}

function nodeOf(row: Readonly<Record<string, string>>): PgpoolNode {
  const delay = row.replication_delay ?? '';
  return {
    host: row.hostname ?? '',
    // Before its first client an instance calls a server "waiting".
    up: row.status === 'up' || row.status === 'waiting',
    role: row.role === 'primary' ? 'primary' : 'standby',
    share: Number(row.lb_weight ?? 0),
    // Without a limit of time the delay is in bytes, and has no unit.
    lagSeconds: /second/.test(delay) ? Number.parseFloat(delay) : 0,
    reads: Number(row.select_cnt ?? 0),
  };
}
