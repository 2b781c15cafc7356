import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { createKubeClient, type KubeClient } from '../../src/runtime/kube-client.ts';

/** The checkout that is tested; ends with a slash. */
export const root = fileURLToPath(new URL('../..', import.meta.url));

let localPath: string | undefined;

/** The kubeconfig of the cluster of `deploy/local`, whether it runs or not. */
export function localKubeconfig(): string {
  localPath ??= execFileSync(`${root}deploy/local/cluster`, ['kubeconfig'], { encoding: 'utf8' }).trim();
  return localPath;
}

/** The kubeconfig of the cluster in use: `$KUBECONFIG`, else that of the local cluster. */
export function kubeconfigPath(): string {
  const { KUBECONFIG: chosen = '' } = process.env;
  return chosen === '' ? localKubeconfig() : chosen;
}

/** Whether this is the cluster of `deploy/local`, whose nodes and processes can be reached from here. */
export function isLocalCluster(): boolean {
  return kubeconfigPath() === localKubeconfig();
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
