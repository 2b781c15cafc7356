import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** What a probe found: `undefined` is well, a text says what is wrong. */
type Probe = () => string | undefined;

/** What to serve. */
export interface HealthServerOptions {
  /** 0 takes any free port. */
  readonly port: number;
  /** Every interface by default. */
  readonly host?: string | undefined;
  /** Well as long as the process is: a slow API server is no reason to be killed. */
  readonly healthy?: Probe | undefined;
  readonly ready: Probe;
  readonly metrics: { metrics(): Promise<string>; readonly contentType: string };
}

/** The server of `/healthz`, `/readyz` and `/metrics`. */
export interface HealthServer {
  readonly port: number;
  close(): Promise<void>;
}

/** Starts serving; rejects when the port is taken. */
export async function startHealthServer(options: HealthServerOptions): Promise<HealthServer> {
  const routes: Readonly<Record<string, (response: ServerResponse) => Promise<void>>> = {
    '/healthz': async (response) => answerProbe(response, options.healthy),
    '/readyz': async (response) => answerProbe(response, options.ready),
    '/metrics': async (response) => {
      const text = await options.metrics.metrics();
      response.writeHead(200, { 'content-type': options.metrics.contentType }).end(text);
    },
  };
  const server = createServer((request, response) => {
    const route = routes[request.url?.split('?')[0] ?? ''];
    if (route === undefined || request.method !== 'GET') {
      response.writeHead(404).end();
      return;
    }
    route(response).catch((error: unknown) => {
      response.writeHead(500).end(error instanceof Error ? error.message : String(error));
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, options.host, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function answerProbe(response: ServerResponse, probe: Probe | undefined): void {
  const problem = probe?.();
  response
    .writeHead(problem === undefined ? 200 : 503, { 'content-type': 'text/plain' })
    .end(problem ?? 'ok');
}
