import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadAll } from 'js-yaml';
import { describe, expect, it } from 'vitest';
import { kinds } from './api/kinds.ts';
import { group } from './api/v1alpha1/common.ts';
import { poolerObjects } from './resources/pooler-config/desired/objects.ts';
import { pgpoolObjects } from './resources/pooler-config/desired/pgpool-objects.ts';
import * as poolerKinds from './resources/pooler-config/kinds.ts';
import { createPoolerSources } from './resources/pooler-config/sources.ts';
import { poolerConfig } from './resources/pooler-config/test-support/world.ts';
import { desiredObjects as objectsOfSet } from './resources/read-replica-set/desired/index.ts';
import { modelObjects } from './resources/read-replica-set/logical/desired/objects.ts';
import { createReplicaSources } from './resources/read-replica-set/sources.ts';
import { readers } from './resources/read-replica-set/test-support/world.ts';
import { shardMoveFor } from './resources/rebalance/moves.ts';
import type { Role } from './resources/sharded-cluster/desired/access.ts';
import { desiredObjects as objectsOfShard } from './resources/sharded-cluster/desired/index.ts';
import * as clusterKinds from './resources/sharded-cluster/kinds.ts';
import { createSources } from './resources/sharded-cluster/sources.ts';
import { shardedCluster } from './resources/sharded-cluster/test-support/world.ts';
import type { KubernetesObject, ResourceType } from './runtime/kubernetes-object.ts';
import { typeName } from './runtime/kubernetes-object.ts';
import * as kubernetesTypes from './runtime/kubernetes-types.ts';

const source = import.meta.dirname;

interface Rule {
  readonly apiGroups?: readonly string[];
  readonly resources?: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly verbs: readonly string[];
}

interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly rules?: readonly Rule[];
  readonly roleRef?: { readonly kind: string; readonly name: string };
}

/** What rules allow: `get pods`, `patch statefulsets.apps`, `update shardmoves.herdsman.dev/status`. */
function rightsOf(rules: readonly Rule[]): string[] {
  return rules.flatMap(({ apiGroups = [], resources = [], verbs }) =>
    apiGroups.flatMap((apiGroup) =>
      resources.flatMap((resource) => {
        const [plural, subresource] = resource.split('/');
        const name = apiGroup === '' ? plural : `${plural}.${apiGroup}`;
        return verbs.map((verb) => `${verb} ${name}${subresource === undefined ? '' : `/${subresource}`}`);
      }),
    ),
  );
}

/** Rules of the roles that the manifest binds to the operator; others are for people. */
function operatorRules(): Rule[] {
  const text = readFileSync(join(source, '../deploy/manifests/herdsman.yaml'), 'utf8');
  const manifests = loadAll(text) as Manifest[];
  const bound = manifests.flatMap(({ roleRef }) => roleRef ?? []);
  return manifests
    .filter(({ kind, metadata }) => bound.some((role) => role.kind === kind && role.name === metadata.name))
    .flatMap(({ rules = [] }) => rules);
}

const image = 'herdsman/postgres:17';
const cluster = shardedCluster();
const set = readers();
const ofShard = objectsOfShard(cluster, 0, { image });
const ofSet = [
  ...objectsOfSet(set, cluster, 's0', {
    ...{ image, members: 1, parameters: {}, upstream: undefined, byPrimary: false },
  }),
  ...modelObjects(set, cluster, { image, members: 1, parameters: {} }),
];
const ofPooler = [
  ...poolerObjects(poolerConfig(), { image, replicas: 1 }),
  ...pgpoolObjects(poolerConfig(), { image, replicas: 1, start: '', slots: {} }),
];
const planned = { name: 'move', group: 'customer', id: 0, from: 's0', to: 's1', reason: 'balance' } as const;
const owned = [...ofShard, ...ofSet, ...ofPooler, shardMoveFor(cluster, planned)];

const following = {
  client: {
    listAll: () => Promise.reject(new Error('nothing is started')),
    watch: () => {
      throw new Error('nothing is started');
    },
  },
};
const sources = createSources(undefined, following);
const replicas = createReplicaSources(undefined, following);
const poolerSources = createPoolerSources(undefined, following);
const followed = [sources, replicas, poolerSources]
  .flatMap((informers) => Object.values(informers).flat())
  .map(({ type }) => type);

function typesOf(objects: readonly KubernetesObject[]): ResourceType[] {
  return objects.map(clusterKinds.resourceTypeOf);
}

/** Types of what is known of a cluster or a set, and of pods: a plan removes nothing else. */
function removable({ plain, statefulSets, pods }: typeof replicas): ResourceType[] {
  return [...plain, statefulSets, pods].map(({ type }) => type);
}

const { leaseType } = kubernetesTypes;
const podMetricsType: ResourceType = {
  ...kubernetesTypes.podType,
  group: 'metrics.k8s.io',
  version: 'v1beta1',
};

/** Calls that do not name their type, and what they are made for. Those of the runtime count where it is called. */
const unnamed: Readonly<Record<string, readonly ResourceType[]>> = {
  'resources/pooler-config/execute.ts apply(action.type)': typesOf(ofPooler),
  'resources/read-replica-set/cpu.ts request({)': [podMetricsType],
  'resources/read-replica-set/execute.ts apply(type)': typesOf(ofSet),
  'resources/read-replica-set/execute.ts delete(type)': removable(replicas),
  'resources/read-replica-set/name-taken.ts read(type)': typesOf(ofSet),
  'resources/retention/controller.ts read(type)': [
    clusterKinds.shardedClusterType,
    clusterKinds.readReplicaSetType,
  ],
  'resources/shard-move/world.ts get(type)': [],
  'resources/sharded-cluster/execute.ts apply(type)': typesOf(ofShard),
  'resources/sharded-cluster/execute.ts delete(type)': removable(sources),
  'resources/sharded-cluster/named-reader.ts read(type)': [],
  'runtime/finalizers.ts get(type)': [],
  'runtime/finalizers.ts patch(type)': [],
  'runtime/list-watch.ts listAll(type)': [...followed, leaseType],
  'runtime/list-watch.ts watch(type)': [...followed, leaseType],
  'runtime/pod-metrics.ts request({)': [podMetricsType],
  'runtime/status-writer.ts applyStatus(type)': [],
  // Nobody asks for this mode.
  'runtime/status-writer.ts updateStatus(type)': [],
};

/** What the API server asks for when a method of the client, or what calls it for a type, is used. */
const askedFor: Readonly<Record<string, readonly string[]>> = {
  get: ['get'],
  read: ['get'],
  list: ['list'],
  listAll: ['list'],
  watch: ['watch'],
  create: ['create'],
  update: ['update'],
  updateStatus: ['update/status'],
  apply: ['create', 'patch'],
  applyStatus: ['patch/status'],
  patch: ['patch'],
  delete: ['delete'],
  // Pods of metrics.k8s.io are listed.
  request: ['list'],
  createNamedReader: ['get'],
  hold: ['get', 'patch'],
  letGo: ['get', 'patch'],
  objectStore: ['get'],
  writeStatus: ['patch/status'],
};

const named = { ...kubernetesTypes, ...clusterKinds, ...poolerKinds } as Readonly<Record<string, unknown>>;
const typeArguments = /(?:<[^()]*?>)?/.source;
const methods =
  'get|read|list|listAll|watch|create|update|updateStatus|apply|applyStatus|patch|delete|request';
const calls = new RegExp(`\\bclient\\s*\\.(${methods})${typeArguments}\\(\\s*(\\{|[\\w.]+)`, 'g');
const callers = new RegExp(
  `\\b(createNamedReader|hold|letGo|objectStore|writeStatus)${typeArguments}\\(\\s*client,\\s*(\\w+Type)\\b`,
  'g',
);

interface Call {
  /** `runtime/finalizers.ts get(type)`. */
  readonly text: string;
  readonly method: string;
  /** Undefined where the call does not name its type. */
  readonly type: ResourceType | undefined;
}

/** Every use of the Kubernetes API in the operator's sources. */
function usesOfApi(): Call[] {
  const files = globSync('{resources,runtime}/**/*.ts', { cwd: source }).filter(
    (file) => !/\.test\.ts$|\/test-support\//.test(file),
  );
  return files.flatMap((file) => {
    const text = readFileSync(join(source, file), 'utf8');
    return [...text.matchAll(calls), ...text.matchAll(callers)].map(([, method = '', argument = '']) => ({
      text: `${file} ${method}(${argument})`,
      method,
      type: named[argument] as ResourceType | undefined,
    }));
  });
}

function rightsFor(method: string, type: ResourceType): string[] {
  return (askedFor[method] ?? []).map((asked) => {
    const [verb, subresource] = asked.split('/');
    return `${verb} ${typeName(type)}${subresource === undefined ? '' : `/${subresource}`}`;
  });
}

/** To refer to an owner whose deletion waits for the object takes the right to its finalizers, where that is enforced. */
function rightsToOwn(): string[] {
  const owners = owned.flatMap(({ metadata }) => metadata.ownerReferences ?? []);
  return owners
    .filter(({ blockOwnerDeletion }) => blockOwnerDeletion === true)
    .map((owner) => kinds.find(({ kind }) => kind === owner.kind)?.plural)
    .map((plural) => `update ${plural}.${group}/finalizers`);
}

function unique(rights: readonly string[]): string[] {
  return [...new Set(rights)].toSorted();
}

describe('the rights of the operator', () => {
  const uses = usesOfApi();

  it('are known for every call, also for those that do not name their type', () => {
    const texts = uses.filter(({ type }) => type === undefined).map(({ text }) => text);
    expect(unique(texts)).toEqual(Object.keys(unnamed).toSorted());
  });

  it('are those that it uses, no more and no less', () => {
    const used = uses.flatMap(({ text, method, type }) =>
      (type === undefined ? (unnamed[text] ?? []) : [type]).flatMap((each) => rightsFor(method, each)),
    );
    expect(unique(rightsOf(operatorRules()))).toEqual(unique([...used, ...rightsToOwn()]));
  });

  it('hold all that it gives to members, without which Kubernetes lets it give nothing', () => {
    const given = owned.filter(({ kind }) => kind === 'Role').map((role) => role as Role);
    expect(given.length).toBeGreaterThan(1);
    const own = rightsOf(operatorRules().filter(({ resourceNames }) => resourceNames === undefined));
    expect(own).toEqual(expect.arrayContaining(unique(given.flatMap(({ rules }) => rightsOf(rules)))));
  });
});
