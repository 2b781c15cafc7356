import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { KubeConfig, PortForward } from '@kubernetes/client-node';
import type { KubernetesObject } from '../../src/runtime/kubernetes-object.ts';
import { serviceType } from '../../src/runtime/kubernetes-types.ts';
import { kube, kubeconfigPath } from './cluster.ts';

/** Where a Service can be reached from this machine. */
export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

interface Service extends KubernetesObject {
  spec?: { clusterIP?: string };
}

const postgresPort = 5432;
const forwards = new Map<string, Promise<Endpoint>>();

/**
 * The address of a Service's PostgreSQL port. The local cluster's nodes are this machine, so its Services are reached
 * directly; of any other cluster the port is forwarded.
 */
export async function endpoint(namespace: string, service: string): Promise<Endpoint> {
  const found = await (await kube()).get<Service>(serviceType, { namespace, name: service });
  const host = found?.spec?.clusterIP;
  if (host === undefined) throw new Error(`Service ${namespace}/${service} is not there`);
  if (await accepts(host, postgresPort)) return { host, port: postgresPort };
  const key = `${namespace}/${service}`;
  const known = forwards.get(key);
  if (known !== undefined) return known;
  const forward = forwardPort(namespace, service);
  forwards.set(key, forward);
  return forward;
}

let reachable: boolean | undefined;

/** Whether Services answer from here; asked once, since a Service may be without a primary for a while. */
async function accepts(host: string, port: number): Promise<boolean> {
  reachable ??= await new Promise<boolean>((resolve) => {
    const socket = connect({ host, port, timeout: 1500 });
    const end = (answer: boolean): void => {
      socket.destroy();
      resolve(answer);
    };
    // Refused is an answer: kube-proxy refuses for a Service that has no endpoint at the moment.
    socket.once('connect', () => end(true));
    socket.once('error', (error: NodeJS.ErrnoException) => end(error.code === 'ECONNREFUSED'));
    socket.once('timeout', () => end(false));
  });
  return reachable;
}

/**
 * Forwards each connection by a stream of its own, to the pod that the Service leads to then. `kubectl port-forward` stays with
 * the pod of its beginning, and gives up altogether when PostgreSQL closes one connection with a reset.
 */
async function forwardPort(namespace: string, service: string): Promise<Endpoint> {
  const config = new KubeConfig();
  config.loadFromFile(kubeconfigPath());
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    new PortForward(config).portForwardService(namespace, service, [postgresPort], socket, null, socket).then(
      (stream) => {
        if (typeof stream === 'function') return;
        stream.onclose = () => socket.end();
        socket.once('close', () => stream.close());
      },
      () => socket.destroy(),
    );
  });
  server.listen(0, '127.0.0.1').unref();
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the forwarded port has no number');
  return { host: '127.0.0.1', port: address.port };
}
