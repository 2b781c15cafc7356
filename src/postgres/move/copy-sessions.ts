import type { Connection } from '../connection.ts';
import { quoteIdentifier } from '../identifier.ts';
import type { MoveContext } from './context.ts';

/**
 * Works with sessions of a copy's own, and closes them all at its end, or as soon as the move is not wanted any more; also while
 * a slot waits for older transactions, and while a key is made.
 */
export async function withOwnSessions<T>(
  context: Pick<MoveContext, 'open' | 'copying'>,
  work: (open: MoveContext['open']) => Promise<T>,
): Promise<T> {
  const opened: Connection[] = [];
  const close = () => Promise.allSettled(opened.map((connection) => connection.close()));
  const signal = context.copying?.signal;
  signal?.addEventListener('abort', close, { once: true });
  try {
    return await work(async (side, as) => {
      const connection = await context.open(side, as);
      opened.push(connection);
      signal?.throwIfAborted();
      return connection;
    });
  } finally {
    signal?.removeEventListener('abort', close);
    await close();
  }
}

/**
 * Makes a copy's failover slot, and answers the snapshot that ends where its stream begins, which is there as long as the session;
 * waits for transactions that are older, and tells so.
 */
export async function makeSlot(
  { copying }: Pick<MoveContext, 'copying'>,
  walsender: Connection,
  name: string,
): Promise<string> {
  copying?.waits?.(true);
  const [slot] = await walsender.query<{ snapshot_name: string }>({
    text: `CREATE_REPLICATION_SLOT ${quoteIdentifier(name)} LOGICAL pgoutput (SNAPSHOT 'export', FAILOVER true)`,
  });
  copying?.waits?.(false);
  if (slot === undefined) throw new Error(`no answer about slot ${name}`);
  return slot.snapshot_name;
}
