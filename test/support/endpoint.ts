import { spawn } from 'node:child_process';
import { connect } from 'node:net';
import type { KubernetesObject } from '../../src/runtime/kubernetes-object.ts';
import { serviceType } from '../../src/runtime/kubernetes-types.ts';
import { kube, kubeconfigPath } from './cluster.ts';
import { toolPath } from './program.ts';

/** Where a Service can be reached from this machine. */
export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

interface Service extends KubernetesObject {
  spec?: { clusterIP?: string };
}

const forwards = new Map<string, Promise<Endpoint>>();

/**
 * The address of a Service's PostgreSQL port. The local cluster's nodes are this machine, so its Services are reached
 * directly; of any other cluster the port is forwarded, by a process that ends with this one.
 */
export async function endpoint(namespace: string, service: string): Promise<Endpoint> {
  const found = await (await kube()).get<Service>(serviceType, { namespace, name: service });
  const host = found?.spec?.clusterIP;
  if (host === undefined) throw new Error(`Service ${namespace}/${service} is not there`);
  if (await accepts(host, 5432)) return { host, port: 5432 };
  const key = `${namespace}/${service}`;
  const known = forwards.get(key);
  if (known !== undefined) return known;
  const forward = forwardPort(namespace, service, () => forwards.delete(key));
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

function forwardPort(namespace: string, service: string, closed: () => void): Promise<Endpoint> {
  const child = spawn(
    'kubectl',
    ['--kubeconfig', kubeconfigPath(), '-n', namespace, 'port-forward', `service/${service}`, ':5432'],
    { env: { ...process.env, PATH: toolPath }, stdio: ['ignore', 'pipe', 'inherit'] },
  );
  process.once('exit', () => child.kill());
  child.once('exit', closed);
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`kubectl port-forward ended with ${code}`)));
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      const port = /127\.0\.0\.1:(\d+)/.exec(text)?.[1];
      if (port !== undefined) resolve({ host: '127.0.0.1', port: Number(port) });
    });
  });
}
