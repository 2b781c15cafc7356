import { loadAll } from 'js-yaml';
import { kinds } from '../../src/api/kinds.ts';
import { group } from '../../src/api/v1alpha1/common.ts';
import { kubeconfigPath, root } from '../../test/support/cluster.ts';
import { kubectl } from '../../test/support/kubectl.ts';
import {
  checkImages,
  ensureImages,
  installOperator,
  operatorNamespace,
} from '../../test/support/operator.ts';
import { run } from '../../test/support/program.ts';
import type { Platform } from './platform.ts';
import { namespace } from './sample.ts';

/** The oldest minor version of Kubernetes 1 that has what the CRDs' rules use. */
const oldestMinor = 33;
/** Told by an annotation, so that `make demo-down` removes no operator that was there before. */
const mark = { key: 'herdsman.dev/made-by', value: 'make-demo' } as const;

interface Deployment {
  readonly metadata: { readonly name: string; readonly namespace: string };
  readonly spec: {
    readonly template: { readonly metadata: { readonly annotations?: Record<string, string> } };
  };
}

interface StorageClass {
  readonly metadata: { readonly annotations?: Record<string, string> };
}

/** A cluster that the demo did not make: it installs the operator only where there is none, and removes no more than that. */
export const yours: Platform = {
  name: 'yours',
  about: [
    'Uses your cluster: makes the namespace herdsman-demo, and installs the operator and its CRDs unless they are there.',
  ],
  async start(progress) {
    progress('asking the cluster what it is');
    await checkCluster();
    if ((await findOperator()).whose !== 'theirs') checkImages();
  },
  async images(progress) {
    return (await findOperator()).whose === 'theirs' ? undefined : ensureImages(progress);
  },
  async operator(images) {
    const { whose, name } = await findOperator();
    if (whose === 'theirs' || images === undefined)
      return `${name}, which is there already, with its own images`;
    await installOperator(images, `podAnnotations.${mark.key.replace('.', '\\.')}=${mark.value}`);
    return 'helm upgrade --install herdsman helm/herdsman';
  },
  async stop(progress) {
    progress(`deleting namespace ${namespace}`);
    await kubectl(['delete', 'namespace', namespace, '--ignore-not-found']);
    const { whose, name } = await findOperator();
    if (whose === 'theirs') return progress(`the operator ${name} was there before the demo: it stays`);
    const others = await remainingObjects();
    if (others.length > 0) {
      return progress(`operator and CRDs stay, for these are not of the demo: ${others.join(', ')}`);
    }
    progress('removing the operator and the CRDs');
    const uninstall = ['uninstall', 'herdsman', '-n', operatorNamespace, '--ignore-not-found', '--wait'];
    await run('helm', uninstall, { environment: { KUBECONFIG: kubeconfigPath() } });
    await kubectl(['delete', 'namespace', operatorNamespace, '--ignore-not-found']);
    await kubectl(['delete', '--ignore-not-found', '-f', `${root}crds`]);
  },
};

/** Throws what is missing, before anything is made. */
async function checkCluster(): Promise<void> {
  const version = JSON.parse(await kubectl(['get', '--raw', '/version'])) as {
    gitVersion: string;
    minor: string;
  };
  if (Number.parseInt(version.minor, 10) < oldestMinor) {
    throw new Error(
      `this cluster runs Kubernetes ${version.gitVersion}: Herdsman needs 1.${oldestMinor} or newer`,
    );
  }
  const { items } = JSON.parse(await kubectl(['get', 'storageclasses', '-o', 'json'])) as {
    items: StorageClass[];
  };
  const isDefault = ({ metadata }: StorageClass): boolean =>
    metadata.annotations?.['storageclass.kubernetes.io/is-default-class'] === 'true';
  if (!items.some(isDefault)) {
    throw new Error(
      'this cluster has no default StorageClass, which the volumes of the demo need: make one the default',
    );
  }
}

/** The operator of this cluster: none, the demo's, or one that somebody else installed. */
async function findOperator(): Promise<{ whose: 'nobody' | 'ours' | 'theirs'; name: string }> {
  const label = 'app.kubernetes.io/name=herdsman';
  const text = await kubectl(['get', 'deployments', '--all-namespaces', '-l', label, '-o', 'json']);
  const { items } = JSON.parse(text) as { items: Deployment[] };
  const [found] = items;
  if (found === undefined) return { whose: 'nobody', name: '' };
  const isOurs = found.spec.template.metadata.annotations?.[mark.key] === mark.value;
  return { whose: isOurs ? 'ours' : 'theirs', name: `${found.metadata.namespace}/${found.metadata.name}` };
}

/** Objects of Herdsman's kinds that are still there. */
async function remainingObjects(): Promise<string[]> {
  const known = await kubectl(['api-resources', `--api-group=${group}`, '-o', 'name']);
  const resources = kinds.map(({ plural }) => `${plural}.${group}`).filter((name) => known.includes(name));
  if (resources.length === 0) return [];
  const text = await kubectl(['get', resources.join(','), '--all-namespaces', '-o', 'yaml']);
  const lists = loadAll(text) as {
    items: { kind: string; metadata: { name: string; namespace: string } }[];
  }[];
  return lists.flatMap(({ items }) =>
    items.map(({ kind, metadata }) => `${kind} ${metadata.namespace}/${metadata.name}`),
  );
}
