import { createServer, connect as dial, type Socket } from 'node:net';

/** An address that leads to a server until it goes without a word. */
export interface Silence {
  readonly host: string;
  readonly port: number;
  /** From now on nothing that comes is read or answered, the end of a connection neither. */
  begin(): void;
  stop(): Promise<void>;
}

/** Starts one in front of a server. */
export async function startSilence(server: {
  readonly host: string;
  readonly port: number;
}): Promise<Silence> {
  const host = '127.0.0.1';
  const open: { client: Socket; upstream: Socket }[] = [];
  const listener = createServer((client) => {
    const upstream = dial(server.port, server.host);
    open.push({ client, upstream });
    for (const socket of [client, upstream]) socket.on('error', () => undefined);
    client.pipe(upstream);
    upstream.pipe(client);
  }).listen(0, host);
  await new Promise((resolve) => listener.once('listening', resolve));
  const address = listener.address();
  if (typeof address !== 'object' || address === null) throw new Error('no free port');
  return {
    host,
    port: address.port,
    begin() {
      for (const { client, upstream } of open) {
        client.unpipe(upstream);
        client.pause();
        upstream.unpipe(client);
      }
    },
    async stop() {
      for (const { client, upstream } of open) {
        client.destroy();
        upstream.destroy();
      }
      await new Promise((resolve) => listener.close(resolve));
    },
  };
}
