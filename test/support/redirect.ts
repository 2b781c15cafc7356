import { once } from 'node:events';
import { createServer, connect as dial, type Socket } from 'node:net';

/** An address that leads to one server after the other, as a Service does. */
export interface Redirect {
  readonly host: string;
  readonly port: number;
  /** Connections that are made from now on lead to this port. */
  to(port: number): void;
  stop(): Promise<void>;
}

const host = '127.0.0.1';

/** Starts one. What is connected stays so. */
export async function startRedirect(first: number): Promise<Redirect> {
  let target = first;
  const open = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = dial(target, host);
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      open.add(one);
      one.on('error', () => undefined);
      one.on('close', () => {
        open.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  }).listen(0, host);
  await once(server, 'listening');
  const address = server.address();
  if (typeof address !== 'object' || address === null) throw new Error('no free port');
  return {
    host,
    port: address.port,
    to(port) {
      target = port;
    },
    async stop() {
      const closed = once(server, 'close');
      server.close();
      for (const socket of open) socket.destroy();
      await closed;
    },
  };
}
