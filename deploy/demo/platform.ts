import { existsSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { localKubeconfig, root } from '../../test/support/cluster.ts';
import { ensureCluster, ensureImages, type Images, installOperator } from '../../test/support/operator.ts';
import { cacheFolder, run } from '../../test/support/program.ts';
import { type Choice, choose } from './choice.ts';
import { yours } from './yours.ts';

/** The kind of cluster that the demo runs on. */
export interface Platform {
  readonly name: Choice['name'];
  /** What it is, and what the demo will do to this machine. */
  readonly about: readonly string[];
  /** Makes the cluster unless it is there. */
  start(progress: (line: string) => void): Promise<void>;
  /** Makes the images and gives them to the cluster; none where the operator that is there has its own. */
  images(progress: (line: string) => void): Promise<Images | undefined>;
  /** Installs the operator with the images, or takes the one that is there. */
  operator(images: Images | undefined): Promise<string>;
  /** Removes what the demo made. */
  stop(progress: (line: string) => void): Promise<void>;
}

const kindName = 'herdsman';
const kindKubeconfig = join(tmpdir(), 'herdsman-kind.kubeconfig');

async function install(images: Images | undefined): Promise<string> {
  if (images === undefined) throw new Error('there are no images to install');
  await installOperator(images);
  return 'helm upgrade --install herdsman helm/herdsman';
}

/** What the local cluster takes: said before anything is done. */
function needsOfLocal(): string[] {
  const isBuilt = existsSync(join(cacheFolder, 'bin/kube-apiserver'));
  return [
    'Installs what is missing: Debian packages (containerd, etcd, buildah, …), and Kubernetes and Helm as Go modules.',
    isBuilt
      ? `Kubernetes is built already, in ${cacheFolder}: this takes about 4 minutes.`
      : `A first run compiles Kubernetes: about 15 minutes on 2 cores, kept in ${cacheFolder} for the next.`,
  ];
}

const local: Platform = {
  name: 'local',
  get about() {
    return needsOfLocal();
  },
  start: ensureCluster,
  images: ensureImages,
  operator: install,
  stop: async (progress) => {
    await run(`${root}deploy/local/cluster`, ['down'], { onLine: progress });
  },
};

const kind: Platform = {
  name: 'kind',
  about: ['Makes a cluster by kind, in Docker. Builds the images here: as root on Debian.'],
  async start(progress) {
    const clusters = await run('kind', ['get', 'clusters']);
    if (!clusters.split('\n').includes(kindName)) {
      const create = ['create', 'cluster', '--name', kindName, '--wait', '120s', '--config', '-'];
      await run('kind', [...create, '--kubeconfig', kindKubeconfig], { input: kindConfig, onLine: progress });
    } else if (!existsSync(kindKubeconfig)) {
      await run('kind', ['export', 'kubeconfig', '--name', kindName, '--kubeconfig', kindKubeconfig]);
    }
  },
  images: (progress) =>
    ensureImages(progress, async (archives) => {
      for (const archive of archives) {
        await run('kind', ['load', 'image-archive', archive, '--name', kindName], { onLine: progress });
      }
    }),
  operator: install,
  async stop(progress) {
    await run('kind', ['delete', 'cluster', '--name', kindName], { onLine: progress });
  },
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

const platforms = { local, kind, yours };

/** The cluster that the demo runs on; `KUBECONFIG` leads to it from then on. */
export function choosePlatform(): Platform {
  const usual = join(homedir(), '.kube/config');
  const { name, kubeconfig } = choose(process.env, {
    localKubeconfig: localKubeconfig(),
    kindKubeconfig,
    usualKubeconfig: existsSync(usual) ? usual : undefined,
    canRunLocal: process.platform === 'linux' && process.getuid?.() === 0 && existsSync('/usr/bin/apt-get'),
  });
  process.env.KUBECONFIG = kubeconfig;
  return platforms[name];
}
