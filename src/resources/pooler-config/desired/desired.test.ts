import type { V1StatefulSet } from '@kubernetes/client-node';
import { dump } from 'js-yaml';
import { expect, it } from 'vitest';
import { databasesOf } from '../databases.ts';
import { sizePools } from '../sizing.ts';
import { poolerConfig } from '../test-support/world.ts';
import { poolerObjects } from './objects.ts';
import { revisionOf, type SettingsInput, settingsFiles } from './settings.ts';

function settings(spec: Record<string, unknown> = {}, changes: Partial<SettingsInput> = {}) {
  const pooler = poolerConfig(spec);
  const { role } = pooler.spec.target;
  const sizing = sizePools({
    spec: pooler.spec,
    databases: databasesOf('app', role, ['s0', 's1']),
    limits: new Map(['s0', 's1'].map((shard) => [shard, { maxConnections: 100, reserved: 3 }])),
    instances: 2,
    poolers: 1,
    taken: { names: [], total: 0 },
    held: 0,
  });
  if (sizing.kind !== 'sized') throw new Error(sizing.message);
  return settingsFiles({
    pooler,
    database: 'app',
    sizes: sizing.databases,
    monitoring: 'monitoring',
    instances: 2,
    certificates: { 'tls.crt': 'one' },
    ...changes,
  });
}

const full = {
  target: { cluster: 'shop', role: 'ro' },
  replicas: 3,
  imagePullSecrets: [{ name: 'registry' }],
  poolMode: 'session',
  databases: [{ name: 'app_s1_ro', poolMode: 'statement', poolSize: 3 }],
  users: [{ name: 'reports', poolMode: 'session', poolSize: 2 }],
  parameters: { server_check_delay: '10', listen_backlog: '512', ignore_startup_parameters: 'options' },
  timeouts: { idleTransaction: '5m' },
  tls: { required: false },
  resources: { requests: { cpu: '100m', memory: '32Mi' }, limits: { memory: '128Mi' } },
  placement: {
    nodeSelector: { 'node.kubernetes.io/pool': 'poolers' },
    tolerations: [{ key: 'poolers', operator: 'Exists', effect: 'NoSchedule' }],
  },
};

// What these files hold is what runs at users': a difference in a StatefulSet replaces their poolers.
it.each([
  ['minimal', {}],
  ['full', full],
])('an operator upgrade changes nothing of %s', async (name, spec) => {
  const pooler = poolerConfig(spec);
  const { imagePullSecrets } = pooler.spec;
  const objects = poolerObjects(pooler, { image: 'herdsman/postgres:17', imagePullSecrets, replicas: 2 });
  const yaml = objects
    .map((object) => dump(object, { lineWidth: -1, noRefs: true, sortKeys: true }))
    .join('---\n');
  await expect(yaml).toMatchFileSnapshot(`golden/${name}.golden.yaml`);
  const { files } = settings(spec);
  const text = Object.entries(files).map(([file, content]) => `==> ${file}\n${content}`);
  await expect(text.join('\n')).toMatchFileSnapshot(`golden/${name}.golden.ini`);
});

it('carries a revision that PgBouncer shows, and that every difference changes', () => {
  const { files, revision } = settings();
  // PgBouncer leaves out what follows a line that it does not take, so nothing follows the revision.
  const line = /\nignore_startup_parameters = (.*)\n$/.exec(files['instance-0.ini'] ?? '')?.[1];
  expect(revisionOf(line ?? '')).toBe(revision);
  expect(files['pgbouncer.ini']).not.toContain(revision);
  expect(settings().revision).toBe(revision);
  const others = [
    settings({ maxClientConnections: 7 }),
    settings({ tls: { required: false } }),
    settings({}, { certificates: { 'tls.crt': 'two' } }),
    settings({}, { instances: 3 }),
    settings({ parameters: { ignore_startup_parameters: 'options' } }),
  ];
  expect(new Set([revision, ...others.map((other) => other.revision)]).size).toBe(6);
  expect(revisionOf('extra_float_digits')).toBeUndefined();
});

it('leads to the fresh members of a ReadReplicaSet', () => {
  const { files } = settings({ target: { cluster: 'shop', role: 'ro', readReplicaSet: 'readers' } });
  expect(files['pgbouncer.ini']).toMatch(/^app_s1_ro = host=readers-s1-read\.store\.svc port=5432 /m);
});

it('has beside PgBouncer what lets its clients go on, before it and for as long as it runs', () => {
  const objects = poolerObjects(poolerConfig(), { image: 'i', replicas: 2 });
  const statefulSet = objects.find(({ kind }) => kind === 'StatefulSet') as V1StatefulSet | undefined;
  const { initContainers = [], containers = [] } = statefulSet?.spec?.template.spec ?? {};
  expect(containers.map(({ name }) => name)).toEqual(['pgbouncer', 'exporter']);
  // Those of initContainers that are restarted end after all others. PgBouncer is started when they have started, and they wait
  // for it then.
  for (const name of ['resolver', 'guard']) {
    const beside = initContainers.find((container) => container.name === name);
    expect(beside?.restartPolicy).toBe('Always');
    expect(beside?.startupProbe).toBeUndefined();
  }
});

it('replaces pods only for settings that PgBouncer reads at its start', () => {
  const template = (spec: Record<string, unknown>) => {
    const objects = poolerObjects(poolerConfig(spec), { image: 'i', replicas: 2 });
    return objects.find((object) => object.kind === 'StatefulSet')?.spec;
  };
  expect(template({ parameters: { verbose: '1' }, poolMode: 'session' })).toEqual(template({}));
  expect(template({ parameters: { listen_backlog: '512' } })).not.toEqual(template({}));
});

it('a Service has what the spec says, and nothing that the cluster allots', () => {
  const service = (spec: Record<string, unknown>) =>
    poolerObjects(poolerConfig({ service: spec }), {
      image: 'herdsman/postgres:17',
      imagePullSecrets: undefined,
      replicas: 2,
    }).find(({ kind, metadata }) => kind === 'Service' && metadata.name === 'web-pooler');
  const ports = [{ name: 'postgres', port: 5432, targetPort: 'postgres', protocol: 'TCP' }];
  const selector = expect.any(Object);
  expect(service({})).toMatchObject({ spec: { type: 'ClusterIP', ports, selector } });
  expect(Object.keys(service({})?.metadata ?? {})).not.toContain('annotations');
  const balanced = {
    type: 'LoadBalancer',
    annotations: { 'cloud.example/internal': 'true' },
    loadBalancerClass: 'cloud.example/nlb',
    loadBalancerSourceRanges: ['10.0.0.0/8'],
    externalTrafficPolicy: 'Local',
  };
  const { annotations, ...rest } = balanced;
  expect(service(balanced)).toMatchObject({ metadata: { annotations } });
  expect(service(balanced)).toHaveProperty('spec', { ...rest, ports, selector });
});
