import type { Connection, ConnectOptions } from '../../postgres/connection.ts';
import type { Connections } from '../../postgres/connections.ts';

/** Sessions that are kept between the steps of a switch: to give one back and to borrow it again costs writers a round trip. */
export interface KeptSessions {
  /** Works with the session that leads there; borrows it the first time. Two works on one session follow each other. */
  use<T>(options: ConnectOptions, work: (connection: Connection) => Promise<T>): Promise<T>;
  /** Gives all sessions back. */
  release(): void;
}

interface Kept {
  readonly connection: Connection;
  giveBack(): void;
}

/** Keeps sessions by the host and port that they lead to. */
export function keepSessions(connections: Pick<Connections, 'use'>): KeptSessions {
  const kept = new Map<string, Promise<Kept>>();

  function borrow(options: ConnectOptions): Promise<Kept> {
    return new Promise((resolve, reject) => {
      connections
        .use(options, (connection) => new Promise<void>((giveBack) => resolve({ connection, giveBack })))
        .catch(reject);
    });
  }

  return {
    async use(options, work) {
      const where = `${options.host}:${options.port ?? ''}`;
      let found = await kept.get(where);
      if (found === undefined || found.connection.closed) {
        found?.giveBack();
        const borrowed = borrow(options);
        kept.set(where, borrowed);
        borrowed.catch(() => kept.delete(where));
        found = await borrowed;
      }
      return work(found.connection);
    },
    release() {
      for (const borrowed of kept.values())
        borrowed.then(({ giveBack }) => giveBack()).catch(() => undefined);
      kept.clear();
    },
  };
}
