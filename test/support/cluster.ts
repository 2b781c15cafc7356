import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { createKubeClient, type KubeClient } from '../../src/runtime/kube-client.ts';

/** The checkout that is tested. */
export const root = fileURLToPath(new URL('../..', import.meta.url));

/** Whether the tests run on the cluster of `deploy/local`, whose nodes and processes they can reach. */
export const isLocalCluster = process.env.KUBECONFIG === undefined || process.env.KUBECONFIG === '';

let path: string | undefined;

/** The kubeconfig of the cluster under test: `$KUBECONFIG`, else that of the local cluster. */
export function kubeconfigPath(): string {
  path ??= isLocalCluster
    ? execFileSync(`${root}deploy/local/cluster`, ['kubeconfig'], { encoding: 'utf8' }).trim()
    : (process.env.KUBECONFIG ?? '');
  return path;
}

let client: Promise<KubeClient> | undefined;

/** One client of the API server for the whole process. */
export function kube(): Promise<KubeClient> {
  client ??= createKubeClient({
    kubeconfigPath: kubeconfigPath(),
    userAgent: 'herdsman-tests',
    fieldManager: 'herdsman-tests',
  });
  return client;
}
