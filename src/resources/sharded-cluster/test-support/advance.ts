import { createHash } from 'node:crypto';
import type { KubernetesObject } from '../../../runtime/kubernetes-object.ts';
import { layoutOf } from '../../../sharding/layout.ts';
import type { DatabaseFacts } from '../database-facts.ts';
import { type DynamicConfig, dynamicConfig } from '../desired/dynamic-config.ts';
import { serverParameters } from '../desired/parameters.ts';
import { shardMapObject } from '../desired/shard-map.ts';
import { executeIdentity } from '../execute-identity.ts';
import type { PersistentVolumeClaim, Pod, StatefulSet } from '../kubernetes.ts';
import type { Action, MemberFacts, ObservedMember, PlanInput } from '../model.ts';
import { claimName, podName, postgresPort, primaryHost, roleLabel, shardLabel } from '../names.ts';
import { plan } from '../plan.ts';
import type { Plan } from '../plan-result.ts';
import { objectId } from '../steps/objects.ts';
import { decideParameters, type ParameterDecision } from '../steps/parameters.ts';
import { hasParameters } from '../steps/topology.ts';
import { emptyCatalog, laidOut, migratedTables, newDatabase } from './shard-content.ts';
import { observing, shardOf, withFacts, withShard } from './world.ts';

/** What the controller decides about the user's parameters in this world. */
export function parametersOf(input: PlanInput): ParameterDecision {
  const { spec, status } = input.cluster;
  const memory = { lastGood: status?.lastGoodParameters, refused: status?.refusedParameters };
  return decideParameters(spec.postgres.parameters, memory, input.observed.shards, (shard, candidate) =>
    hasParameters(input, shard, candidate),
  );
}

/** One pass's plan. */
export function planOf(input: PlanInput): Plan {
  return plan(input, parametersOf(input).use);
}

/** The world as it is when nothing is left to do; fails if that never comes. */
export async function settled(input: PlanInput): Promise<PlanInput> {
  let world = input;
  for (let pass = 0; pass < 60; pass += 1) {
    const { actions } = planOf(world);
    if (actions.length === 0) return world;
    for (const action of actions) world = await advanced(world, action);
  }
  throw new Error(`there is no end to it: ${JSON.stringify(planOf(world).outcomes)}`);
}

/** The world as it is when an action was carried out, and everything that follows from it has happened. */
export async function advanced(input: PlanInput, action: Action): Promise<PlanInput> {
  switch (action.kind) {
    case 'create-authority':
    case 'rotate-authority':
    case 'issue-shard':
    case 'issue-operator':
    case 'generate-login':
    case 'write-secret':
      return identified(input, action);
    case 'apply':
      return applied(input, action.object);
    case 'delete':
      return deleted(input, action);
    case 'create-map':
      return observing(input, {
        map: { state: 'present', value: shardMapObject(input.cluster, action.spec) },
      });
    case 'update-map':
      return observing(input, {
        map: { state: 'present', value: { ...action.map, spec: action.next ?? action.spec } },
      });
    case 'set-up-database':
      return withFacts(input, action.shard, { isSetUp: true, catalog: emptyCatalog });
    case 'migrate':
      return action.shards.reduce((world, shard) => migrated(world, shard, action), input);
    case 'sql':
      return withLeaves(input, action.shard);
    case 'copy-references': {
      const rows = factsOf(input, action.to).tablesWithRows;
      const references = new Map(input.observed.references);
      references.delete(action.to);
      const tablesWithRows = [...new Set([...rows, ...action.tables])];
      return withFacts(observing(input, { references }), action.to, { tablesWithRows });
    }
    case 'patch-config': {
      const { config } = shardOf(input, action.shard);
      const current = config.state === 'present' ? config.value : {};
      return withShard(input, action.shard, {
        config: { state: 'present', value: mergePatch(current, action.patch) },
      });
    }
    case 'restart':
      return withMember(input, action.shard, action.member, { pendingRestart: false, pendingParameters: [] });
    case 'switchover': {
      const demoted = withMember(input, action.shard, action.leader, standby);
      const promoted = withMember(demoted, action.shard, action.candidate, primary);
      const { group } = shardOf(promoted, action.shard);
      if (group.state !== 'present') throw new Error('nobody leads');
      const led = withFacts(promoted, action.shard, { member: action.candidate });
      return withShard(led, action.shard, {
        group: { state: 'present', value: { ...group.value, leader: action.candidate } },
      });
    }
    case 'reinitialize':
      return withShard(input, action.shard, { strays: [] });
    case 'resize-claim':
      return withClaimSize(input, action.claim, action.size);
    case 'reload':
      return withShard(input, action.shard, { staleCertificates: [] });
    case 'relabel':
      return withPodLabel(input, action.shard, action.pod.metadata.name, roleLabel, 'replica');
    case 'clear-claim':
      return withShard(input, action.shard, { abandonedClaim: undefined });
    case 'event':
      return input;
  }
}

async function identified(
  input: PlanInput,
  action: Parameters<typeof executeIdentity>[2],
): Promise<PlanInput> {
  const secrets = new Map(input.observed.secrets);
  const store = <T extends KubernetesObject>(object: T): T => {
    const { data = {} } = object as { data?: Record<string, string> };
    secrets.set(object.metadata.name, { state: 'present', value: { data, resourceVersion: '1' } });
    return object;
  };
  await executeIdentity(
    {
      client: {
        create: async (_, object) => store(object),
        apply: async (_, object) => store(object),
      },
      secrets: { note: () => undefined, forget: () => undefined },
      now: () => input.now,
    },
    { cluster: input.cluster, observed: input.observed, signal: new AbortController().signal },
    action,
  );
  return observing(input, { secrets });
}

function applied(input: PlanInput, object: KubernetesObject): PlanInput {
  const id = objectId(object);
  const live = {
    ...object,
    metadata: { ...object.metadata, uid: input.observed.objects.get(id)?.metadata.uid ?? `uid of ${id}` },
  };
  const world = observing(input, { objects: new Map(input.observed.objects).set(id, live) });
  const shard = object.metadata.labels?.[shardLabel];
  return object.kind === 'StatefulSet' && shard !== undefined
    ? withMembers(world, shard, live as StatefulSet)
    : world;
}

/** A StatefulSet and its members, all up and well; those that were there keep what they are, and pods with another template are outdated. */
function withMembers(input: PlanInput, name: string, statefulSet: StatefulSet): PlanInput {
  const { cluster } = input;
  const shard = shardOf(input, name);
  const revision = revisionOf(statefulSet);
  const replicas = statefulSet.spec?.replicas ?? 0;
  const ordinals = Array.from({ length: replicas }, (_, ordinal) => ordinal);
  const members = ordinals.map((ordinal): ObservedMember => {
    const known = shard.members[ordinal];
    if (known === undefined)
      return newMember(podName(cluster.metadata.name, name, ordinal), ordinal, revision);
    return { ...known, outdated: known.pod?.metadata.labels?.[revisionLabel] !== revision };
  });
  const kept = shard.group.state === 'present' ? shard.group.value : undefined;
  const leader = kept?.leader ?? members[0]?.name;
  const facts = members.map((member): [string, MemberFacts] => [
    member.name,
    kept?.members.get(member.name) ?? (member.name === leader ? primary : standby),
  ]);
  return withShard(input, name, {
    statefulSet,
    settled: true,
    members,
    claims: ordinals.map((ordinal) => shard.claims[ordinal] ?? claimOf(input, name, ordinal)),
    group: { state: 'present', value: { leader, paused: false, quorum: false, members: new Map(facts) } },
    config:
      shard.config.state === 'present' ? shard.config : { state: 'present', value: initialConfig(input) },
    database:
      shard.database.state === 'present'
        ? shard.database
        : { state: 'present', value: { ...newDatabase, member: leader ?? '' } },
  });
}

const revisionLabel = 'controller-revision-hash';

function revisionOf(statefulSet: StatefulSet): string {
  const { template } = statefulSet.spec as { template?: unknown };
  return createHash('sha256').update(JSON.stringify(template)).digest('hex').slice(0, 8);
}

function newMember(name: string, ordinal: number, revision: string): ObservedMember {
  const pod: Pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'shop', uid: `uid of ${name}`, labels: { [revisionLabel]: revision } },
    spec: { nodeName: `node-${ordinal}` },
    status: {
      phase: 'Running',
      podIP: `10.0.0.${ordinal}`,
      conditions: [{ type: 'Ready', status: 'True', lastTransitionTime: '2026-01-09T00:00:00Z' }],
    },
  };
  return { name, ordinal, pod, ready: true, outdated: false, losesVolume: false, zone: `zone-${ordinal}` };
}

function claimOf({ cluster }: PlanInput, shard: string, ordinal: number): PersistentVolumeClaim {
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name: claimName(cluster.metadata.name, shard, ordinal), namespace: 'shop' },
    spec: { volumeName: 'volume', resources: { requests: { storage: cluster.spec.storage.size } } },
    status: { phase: 'Bound' },
  };
}

const primary: MemberFacts = {
  role: 'primary',
  state: 'running',
  timeline: 1,
  lagBytes: undefined,
  sync: false,
  pendingRestart: false,
  pendingParameters: [],
};
const standby: MemberFacts = { ...primary, role: 'standby', state: 'streaming', lagBytes: 0, sync: true };

/** What the servers start with: none of the user's own parameters. */
function initialConfig({ cluster: { spec } }: PlanInput): DynamicConfig {
  return dynamicConfig(spec, serverParameters(spec, {}));
}

function deleted(input: PlanInput, action: Extract<Action, { kind: 'delete' }>): PlanInput {
  const { object } = action;
  const objects = new Map(input.observed.objects);
  objects.delete(objectId(object));
  const world = observing(input, { objects });
  const shard = input.observed.shards.find(
    ({ statefulSet, members }) =>
      statefulSet?.metadata.name === object.metadata.name ||
      members.some(({ name }) => name === object.metadata.name),
  );
  if (shard === undefined) return world;
  if (object.kind === 'Pod') {
    const revision = shard.statefulSet === undefined ? '' : revisionOf(shard.statefulSet);
    const members = shard.members.map((member) =>
      member.name === object.metadata.name ? newMember(member.name, member.ordinal, revision) : member,
    );
    return withShard(world, shard.name, { members });
  }
  if (object.kind !== 'StatefulSet') return world;
  if (action.orphan === true) return withShard(world, shard.name, { statefulSet: undefined, settled: false });
  return observing(world, { shards: world.observed.shards.filter(({ name }) => name !== shard.name) });
}

function migrated(
  input: PlanInput,
  shard: string,
  { migration, position }: Extract<Action, { kind: 'migrate' }>,
): PlanInput {
  const catalog = factsOf(input, shard).catalog ?? emptyCatalog;
  const checksum = createHash('sha256').update(migration.sql).digest('hex');
  const tables = migratedTables(layoutOf(input.cluster.spec.tables));
  const known = new Set(catalog.tables.map(({ name }) => name));
  return withFacts(input, shard, {
    catalog: {
      ...catalog,
      tables: [...catalog.tables, ...tables.filter(({ name }) => !known.has(name))],
      ledger: [...catalog.ledger, { name: migration.name, position, checksum }],
    },
  });
}

function withLeaves(input: PlanInput, shard: string): PlanInput {
  const { cluster, observed } = input;
  if (observed.map.state !== 'present') throw new Error('there is no map');
  const catalog = factsOf(input, shard).catalog ?? emptyCatalog;
  const layout = layoutOf(cluster.spec.tables);
  const { name, namespace } = cluster.metadata;
  const endpoints = Object.fromEntries(
    observed.shards.map((other) => [
      other.name,
      {
        host: primaryHost(name, other.name, namespace),
        port: postgresPort,
        dbname: cluster.spec.postgres.database,
      },
    ]),
  );
  return withFacts(input, shard, {
    catalog: laidOut(shard, catalog, observed.map.value.spec, layout, endpoints),
  });
}

function withMember(
  input: PlanInput,
  shard: string,
  member: string,
  change: Partial<MemberFacts>,
): PlanInput {
  const { group } = shardOf(input, shard);
  if (group.state !== 'present') throw new Error(`Patroni of ${shard} does not answer`);
  const facts = group.value.members.get(member);
  if (facts === undefined) throw new Error(`Patroni of ${shard} does not know ${member}`);
  const members = new Map(group.value.members).set(member, { ...facts, ...change });
  return withShard(input, shard, { group: { state: 'present', value: { ...group.value, members } } });
}

function withClaimSize(input: PlanInput, claim: PersistentVolumeClaim, size: string): PlanInput {
  return observing(input, {
    shards: input.observed.shards.map((shard) => ({
      ...shard,
      claims: shard.claims.map((candidate) =>
        candidate.metadata.name === claim.metadata.name
          ? { ...candidate, spec: { ...candidate.spec, resources: { requests: { storage: size } } } }
          : candidate,
      ),
    })),
  });
}

function factsOf(input: PlanInput, shard: string): DatabaseFacts {
  const { database } = shardOf(input, shard);
  if (database.state !== 'present') throw new Error(`the primary of ${shard} does not answer`);
  return database.value;
}

/** RFC 7396, as Patroni does it. */
function mergePatch(current: unknown, patch: DynamicConfig): DynamicConfig {
  const result: Record<string, unknown> = { ...(isRecord(current) ? current : {}) };
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key];
    else result[key] = isRecord(value) ? mergePatch(result[key], value) : value;
  }
  return result;
}

function isRecord(value: unknown): value is DynamicConfig {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function withPodLabel(input: PlanInput, shard: string, pod: string, label: string, value: string): PlanInput {
  const members = shardOf(input, shard).members.map((member) => {
    if (member.pod === undefined || member.name !== pod) return member;
    const { metadata } = member.pod;
    return {
      ...member,
      pod: { ...member.pod, metadata: { ...metadata, labels: { ...metadata.labels, [label]: value } } },
    };
  });
  return withShard(input, shard, { members });
}
