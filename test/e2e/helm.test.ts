import { readFileSync } from 'node:fs';
import { loadAll } from 'js-yaml';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { renderManifest } from '../../src/api/manifest.ts';
import { kubeconfigPath, root } from '../support/cluster.ts';
import { kubectl, refusal } from '../support/kubectl.ts';
import { createNamespace, deleteNamespace } from '../support/namespace.ts';
import { ensureImages } from '../support/operator.ts';
import { run } from '../support/program.ts';

interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
}

interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly rules?: readonly Rule[];
}

const chart = `${root}helm/herdsman`;
let namespace = '';

/** Renders the chart as release `try` in the tests' namespace. */
async function render(...settings: readonly string[]): Promise<Manifest[]> {
  const text = await run('helm', [
    ...['template', 'try', chart, '--namespace', namespace, '--kube-version', '1.34.0'],
    ...settings.flatMap((setting) => ['--set', setting]),
  ]);
  return loadAll(text).filter((object) => object !== null) as Manifest[];
}

function ofKind(objects: readonly Manifest[], kind: string): Manifest[] {
  return objects.filter((object) => object.kind === kind);
}

/** Rules one by one: group, resource, verb. */
function rights(objects: readonly Manifest[]): string[] {
  return objects
    .flatMap((object) => object.rules ?? [])
    .flatMap(({ apiGroups, resources, verbs }) =>
      apiGroups.flatMap((group) =>
        resources.flatMap((resource) => verbs.map((verb) => `${group}/${resource}/${verb}`)),
      ),
    );
}

/** Rights that the operator's rules name, without what people get by aggregation. */
function operatorRights(objects: readonly Manifest[]): string[] {
  return rights(objects.filter(({ metadata }) => !/-(edit|view)$/.test(metadata.name)));
}

beforeAll(async () => {
  namespace = await createNamespace('helm');
});

afterAll(async () => {
  await deleteNamespace(namespace);
});

describe('the chart', () => {
  test('passes strict lint', async () => {
    expect(await run('helm', ['lint', '--strict', chart])).toContain('0 chart(s) failed');
  });

  test.each([
    { what: 'its defaults', settings: [] },
    {
      what: 'one instance and no CRDs',
      settings: ['replicas=1', 'crds.install=false', 'rbac.aggregate=false', 'podLabels=null'],
    },
    {
      what: 'everything set',
      settings: [
        ...['imagePullSecrets[0].name=pull', 'priorityClassName=system-cluster-critical', 'logLevel=debug'],
        ...[
          'podLabels.team=a',
          'podAnnotations.note=b',
          'nodeSelector.disk=ssd',
          'tolerations[0].operator=Exists',
        ],
        ...['affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution=null'],
        ...['serviceAccount.annotations.role=c'],
      ],
    },
  ])('is accepted by the API server with $what', async ({ settings }) => {
    const text = await run('helm', [
      ...['install', 'try', chart, '--namespace', namespace, '--dry-run=server'],
      ...['--kubeconfig', kubeconfigPath(), '--set', 'crds.install=false'],
      ...settings.flatMap((setting) => ['--set', setting]),
    ]);
    expect(text).toContain('kubectl explain shardedcluster.spec');
    expect(text).toContain('kubectl get shardedclusters');
    const objects = await render(...settings);
    const checked = await kubectl(
      ['apply', '--server-side', '--force-conflicts', '--dry-run=server', '--filename', '-'],
      objects.map((object) => JSON.stringify(object)).join('\n'),
    );
    expect(checked.trimEnd().split('\n')).toHaveLength(objects.length);
  });

  test('says what to run in the namespace that it watches', async () => {
    const text = await run('helm', [
      ...['install', 'try', chart, '--namespace', namespace, '--dry-run=server'],
      ...['--kubeconfig', kubeconfigPath(), '--set', 'crds.install=false'],
      ...['--set', `watch.namespaces={${namespace}}`],
    ]);
    for (const command of ['wait --for', 'get shardedclusters', 'get secret shop-app'])
      expect(text).toContain(`kubectl --namespace ${namespace} ${command}`);
  });

  test('makes pods that the restricted standard admits', async () => {
    const [deployment] = ofKind(await render(), 'Deployment') as (Manifest & {
      spec: { template: { metadata: object; spec: object } };
    })[];
    if (!deployment) throw new Error('no Deployment');
    const { metadata, spec } = deployment.spec.template;
    const pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { ...metadata, name: 'operator', namespace },
      spec,
    };
    const accountless = { ...pod, spec: { ...spec, serviceAccountName: 'default' } };
    await kubectl(['create', '--dry-run=server', '--filename', '-'], JSON.stringify(accountless));
    const privileged = { ...accountless, spec: { ...accountless.spec, hostNetwork: true } };
    expect(await refusal(privileged)).toContain('violates PodSecurity "restricted');
  });

  test('takes names that look like numbers', async () => {
    const text = await run('helm', [
      ...['template', '123', chart, '--namespace', '456', '--kube-version', '1.34.0'],
      ...['--set', 'crds.install=false', '--set-string', 'watch.namespaces={789}'],
      ...['--set-string', 'priorityClassName=1000'],
    ]);
    const objects = JSON.stringify(loadAll(text));
    expect(objects).not.toMatch(/[[:,](123|456|789|1000)[\],}]/);
    for (const name of ['"123"', '"456"', '"789"', '"1000"']) expect(objects).toContain(name);
  });

  test('gives rights everywhere only when it watches everything', async () => {
    const everywhere = await render();
    expect(ofKind(everywhere, 'ClusterRole').map(({ metadata }) => metadata.name)).toContain('try-clusters');
    const limited = await render('watch.namespaces={a,b}');
    expect(
      ofKind(limited, 'Role')
        .filter(({ metadata }) => metadata.name === 'try-clusters')
        .map((role) => role.metadata.namespace),
    ).toEqual(['a', 'b']);
    expect(operatorRights(ofKind(limited, 'ClusterRole'))).toEqual(['/nodes/get']);
    expect(JSON.stringify(ofKind(limited, 'Deployment'))).toContain(
      '{"name":"WATCH_NAMESPACES","value":"a,b"}',
    );
  });

  test('lets finished ShardMoves go, and nothing that a user wrote', async () => {
    const all = operatorRights(await render());
    expect(all.filter((right) => /^herdsman\.dev\/.*\/delete$/.test(right))).toEqual([
      'herdsman.dev/shardmoves/delete',
    ]);
  });

  test('never lists Secrets, and has no wildcard', async () => {
    const all = operatorRights(await render());
    expect(all.filter((right) => right.startsWith('/secrets/')).toSorted()).toEqual([
      ...['/secrets/create', '/secrets/get', '/secrets/patch'],
    ]);
    expect(all.filter((right) => right.includes('*'))).toEqual([]);
  });

  test.each([
    { setting: 'replicas=many', says: 'replicas' },
    { setting: 'logLevel=loud', says: 'logLevel' },
    { setting: 'watch.namespaces={Not_A_Name}', says: 'namespaces' },
    { setting: 'replica=2', says: 'replica' },
    { setting: 'podLabels.app\\.kubernetes\\.io/name=mine', says: 'write a label of another name' },
    { setting: 'podLabels.app\\.kubernetes\\.io/instance=mine', says: 'write a label of another name' },
  ])('refuses $setting', async ({ setting, says }) => {
    await expect(render(setting)).rejects.toThrow(says);
  });

  test('has the version of package.json', async () => {
    const { version } = JSON.parse(readFileSync(`${root}package.json`, 'utf8')) as { version: string };
    const shown = await run('helm', ['show', 'chart', chart]);
    expect(shown).toContain(`\nversion: ${version}\n`);
    expect(shown).toContain(`appVersion: ${version}\n`);
  });
});

describe('an operator of one namespace', () => {
  test('has all the rights that it needs there, and gets ready', async () => {
    const { operator, postgres } = await ensureImages();
    const colon = operator.lastIndexOf(':');
    const settings = [
      ...[`image.repository=${operator.slice(0, colon)}`, `image.tag=${operator.slice(colon + 1)}`],
      ...[`postgresImage=${postgres}`, `watch.namespaces={${namespace}}`, 'replicas=1'],
      ...['crds.install=false', 'rbac.aggregate=false'],
    ];
    const where = ['--namespace', namespace, '--kubeconfig', kubeconfigPath()];
    const set = settings.flatMap((setting) => ['--set', setting]);
    // It is ready when its caches are filled: each kind that it watches could be listed there.
    await run('helm', ['install', 'limited', chart, ...where, ...set, '--wait', '--timeout', '90s']);
    try {
      const log = await kubectl(['logs', '-n', namespace, 'deployment/limited']);
      expect(log).not.toMatch(/forbidden/i);
      const account = `--as=system:serviceaccount:${namespace}:limited`;
      const mayRead = (...where: readonly string[]): Promise<string> =>
        kubectl(['auth', 'can-i', 'get', 'secrets', account, ...where]).catch((error) => String(error));
      expect(await mayRead('-n', namespace)).toContain('yes');
      expect(await mayRead('-n', 'kube-system')).not.toContain('yes');
    } finally {
      await run('helm', ['uninstall', 'limited', ...where, '--wait']);
    }
  });
});

describe('the plain manifest', () => {
  const file = `${root}deploy/manifests/herdsman.yaml`;

  test('is what the chart renders', () => {
    expect(readFileSync(file, 'utf8')).toBe(renderManifest(chart));
  });

  test('is accepted by the API server', async () => {
    const checked = await kubectl(['apply', '--dry-run=server', '--filename', file]);
    expect(checked).toContain('deployment.apps/herdsman');
  });
});
