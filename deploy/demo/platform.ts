import { existsSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { root } from '../../test/support/cluster.ts';
import { ensureCluster, ensureImages, type Images } from '../../test/support/operator.ts';
import { run } from '../../test/support/program.ts';

/** The kind of cluster that the demo runs on. */
export interface Platform {
  readonly name: 'local' | 'kind' | 'yours';
  /** Makes the cluster unless it is there. */
  start(progress: (line: string) => void): Promise<void>;
  /** Makes the images and gives them to the cluster. */
  images(progress: (line: string) => void): Promise<Images>;
  /** Removes the cluster, if the demo made it. */
  stop(progress: (line: string) => void): Promise<void>;
}

const kindName = 'herdsman';
const kindKubeconfig = join(tmpdir(), 'herdsman-kind.kubeconfig');

const local: Platform = {
  name: 'local',
  start: ensureCluster,
  images: ensureImages,
  stop: async (progress) => {
    await run(`${root}deploy/local/cluster`, ['down'], { onLine: progress });
  },
};

const kind: Platform = {
  name: 'kind',
  async start(progress) {
    const clusters = await run('kind', ['get', 'clusters']);
    if (!clusters.split('\n').includes(kindName)) {
      const create = ['create', 'cluster', '--name', kindName, '--wait', '120s', '--config', '-'];
      await run('kind', [...create, '--kubeconfig', kindKubeconfig], { input: kindConfig, onLine: progress });
    } else if (!existsSync(kindKubeconfig)) {
      await run('kind', ['export', 'kubeconfig', '--name', kindName, '--kubeconfig', kindKubeconfig]);
    }
    process.env.KUBECONFIG = kindKubeconfig;
  },
  images: (progress) =>
    ensureImages(progress, async (archives) => {
      for (const archive of archives) {
        await run('kind', ['load', 'image-archive', archive, '--name', kindName], { onLine: progress });
      }
    }),
  async stop(progress) {
    await run('kind', ['delete', 'cluster', '--name', kindName], { onLine: progress });
  },
};

const yours: Platform = {
  name: 'yours',
  start: async () => undefined,
  images: ensureImages,
  stop: async () => undefined,
};

const kindConfig = JSON.stringify({
  kind: 'Cluster',
  apiVersion: 'kind.x-k8s.io/v1alpha4',
  nodes: [
    { role: 'control-plane' },
    ...['zone-a', 'zone-b', 'zone-c'].map((zone) => ({
      role: 'worker',
      labels: { 'topology.kubernetes.io/zone': zone },
    })),
  ],
});

/**
 * `CLUSTER=kind` asks for kind and `CLUSTER=local` for the local cluster; else `$KUBECONFIG`; else the local cluster where it
 * can run (root on Linux with apt); else the cluster that kubectl uses.
 */
export function choosePlatform(environment: NodeJS.ProcessEnv = process.env): Platform {
  if (environment.CLUSTER === 'kind') {
    process.env.KUBECONFIG = kindKubeconfig;
    return kind;
  }
  if (environment.CLUSTER === 'local') {
    delete process.env.KUBECONFIG;
    return local;
  }
  if (environment.CLUSTER !== undefined && environment.CLUSTER !== '') {
    throw new Error(
      `CLUSTER=${environment.CLUSTER}: write "local" or "kind", or set KUBECONFIG to a cluster of yours`,
    );
  }
  if (environment.KUBECONFIG !== undefined && environment.KUBECONFIG !== '') return yours;
  if (process.platform === 'linux' && process.getuid?.() === 0 && existsSync('/usr/bin/apt-get'))
    return local;
  const usual = join(homedir(), '.kube/config');
  if (!existsSync(usual)) {
    throw new Error(
      'no cluster: run as root on Debian, or set KUBECONFIG, or CLUSTER=kind where Docker runs',
    );
  }
  process.env.KUBECONFIG = usual;
  return yours;
}
