import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { createKubeClient, type KubeClient } from '../../src/runtime/kube-client.ts';

/** The checkout that is tested; ends with a slash. */
export const root = fileURLToPath(new URL('../..', import.meta.url));

/** Whether this is the cluster of `deploy/local`, whose nodes and processes can be reached from here. */
export function isLocalCluster(): boolean {
  return process.env.KUBECONFIG === undefined || process.env.KUBECONFIG === '';
}

let path: string | undefined;

/** The kubeconfig of the cluster in use: `$KUBECONFIG`, else that of the local cluster. */
export function kubeconfigPath(): string {
  path ??= isLocalCluster()
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
