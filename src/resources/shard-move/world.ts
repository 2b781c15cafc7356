import type { ShardMapSpec } from '../../api/v1alpha1/shard-map.ts';
import { type ConnectOptions, connect } from '../../postgres/connection.ts';
import type { Connections } from '../../postgres/connections.ts';
import type { MoveContext, SessionKind, Side } from '../../postgres/move/context.ts';
import { readFacts } from '../../postgres/move/facts.ts';
import { readLag } from '../../postgres/move/lag.ts';
import { performStep } from '../../postgres/move/perform.ts';
import { findObstacles } from '../../postgres/move/preflight.ts';
import { UnreachableError } from '../../postgres/postgres-error.ts';
import { ApiError } from '../../runtime/api-error.ts';
import type { KubeClient } from '../../runtime/kube-client.ts';
import {
  type KubernetesObject,
  keyOf,
  type ResourceType,
  withoutFieldOwners,
} from '../../runtime/kubernetes-object.ts';
import { layoutOf } from '../../sharding/layout.ts';
import type { MoveWorld, Store } from '../../sharding/move/drive.ts';
import type { Move, MoveRecord, Step } from '../../sharding/move/model.ts';
import { copyName } from '../../sharding/move/names.ts';
import { shardMapType, shardMoveType } from '../sharded-cluster/kinds.ts';
import type { ShardedCluster, ShardMapObject } from '../sharded-cluster/model.ts';
import { postgresPort, primaryHost, shardMapName } from '../sharded-cluster/names.ts';
import { busyObstacle, rivalOf } from './busy.ts';
import type { ShardMove } from './model.ts';
import type { StepWatch } from './progress.ts';
import { isCancelled, recordOf, withRecord } from './record.ts';
import { type KeptSessions, keepSessions } from './sessions.ts';
import type { Stopwatch } from './stopwatch.ts';

/** What the world of a move is made of. */
export interface WorldOptions {
  readonly client: KubeClient;
  readonly connections: Connections;
  readonly cluster: ShardedCluster;
  readonly shardMove: ShardMove;
  readonly move: Move;
  /** The map as the pass began, for bounds, which a move does not change. */
  readonly map: ShardMapSpec;
  readonly primaries: ReadonlyMap<string, ConnectOptions>;
  /** How one shard's server reaches another's: parameters of libpq, without user and password. */
  readonly addressOf: (cluster: ShardedCluster, shard: string) => Readonly<Record<string, string>>;
  readonly now: () => Date;
  readonly signal: AbortSignal;
  /** Keeps steps waiting that somebody wants to wait. */
  readonly hold: NonNullable<MoveWorld['hold']>;
  /** The ShardMoves of the cluster as they were lately, this one among them. */
  readonly others: () => readonly ShardMove[];
  /** What fits on the shards. */
  readonly volumes: NonNullable<MoveContext['volumes']>;
  /** Follows the steps that take long. */
  readonly watch: StepWatch;
  /** Measured so far: written together with what the record says, so that both are there at once. */
  readonly findings: Stopwatch['findings'];
  /** Told of every step that was done, with what it took. */
  readonly onStep: NonNullable<MoveWorld['onStep']>;
}

/** What a move works on, as long as a pass lasts. */
export interface ShardMoveWorld extends MoveWorld, Pick<KeptSessions, 'release'> {
  /** Whether somebody wanted the move to end when its record was read last. */
  isCancelled(): boolean;
}

/** CA of the members, where PostgreSQL finds it. */
const authorityPath = '/etc/herdsman/tls/ca.crt';

/** By the name of the primary's Service, and verified against it. */
export function memberAddress({ metadata, spec }: ShardedCluster, shard: string): Record<string, string> {
  return {
    host: primaryHost(metadata.name, shard, metadata.namespace),
    port: String(postgresPort),
    dbname: spec.postgres.database,
    sslmode: 'verify-full',
    sslrootcert: authorityPath,
  };
}

/** Steps from the last before the fence to the last that writers wait for. */
const switchSteps: ReadonlySet<Step['kind']> = new Set([
  ...(['arm', 'fence', 'drain', 'open', 'gate', 'commit-target', 'commit-source'] as const),
  ...(['roll-back-source', 'roll-back-target'] as const),
]);

/** Steps that take as long as a bucket is big, and end at once when the move is not wanted any more. */
const longSteps: ReadonlySet<Step['kind']> = new Set(['copy-rows', 'index', 'verify'] as const);

/** A move's world: the ShardMap, the status of the ShardMove, and the primaries of both shards; to be released after a pass. */
export function createMoveWorld(options: WorldOptions): ShardMoveWorld {
  const { client, cluster, shardMove, move, now, signal, hold, watch, onStep } = options;
  const sessions = keepSessions(options.connections);
  const context = contextOf(options);
  const quick: MoveContext = { ...context, use: (side, work) => sessions.use(primaryOf(side), work) };
  let isUnwanted = move.cancel;
  const mapKey = { namespace: cluster.metadata.namespace, name: shardMapName(cluster.metadata.name) };
  return {
    map: objectStore<ShardMapObject, ShardMapSpec>(client, shardMapType, mapKey, signal, {
      partOf: (object) => object.spec,
      // Writers wait for one of these changes.
      write: (object, spec) =>
        client.update(shardMapType, withoutFieldOwners({ ...object, spec }), { signal }),
    }),
    record: objectStore<ShardMove, MoveRecord>(client, shardMoveType, keyOf(shardMove), signal, {
      partOf: (object) => {
        isUnwanted = isCancelled(object);
        return recordOf(object.status);
      },
      write: (object, record) => {
        const status = { ...withRecord(object.status, record, now()), ...options.findings() };
        return client.updateStatus(shardMoveType, { ...object, status }, { signal });
      },
    }),
    observe: (side) =>
      context.use(side, (connection) => readFacts(connection, context, side, now().getTime())),
    async obstacles() {
      const busy = busyObstacle(shardMove, options.others());
      return [...(busy === undefined ? [] : [busy]), ...(await findObstacles(context))];
    },
    async rival() {
      const { namespace } = cluster.metadata;
      const { items } = await client.listAll<ShardMove>(shardMoveType, {
        namespace,
        signal,
        timeoutMs: 5_000,
      });
      return rivalOf(shardMove, items) ?? 'none';
    },
    perform: (_, step, view) => {
      const perform = () => performStep(switchSteps.has(step.kind) ? quick : context, step, view);
      if (!longSteps.has(step.kind)) return perform();
      if (step.kind !== 'index' && step.kind !== 'verify') return watch.during(perform);
      const slot = copyName(move.id, step.copy);
      return watch.during(perform, () => context.use('source', (connection) => readLag(connection, slot)));
    },
    now: () => now().getTime(),
    hold,
    onStep,
    release: sessions.release,
    isCancelled: () => isUnwanted,
  };

  function contextOf({ connections, map, addressOf, volumes }: WorldOptions): MoveContext {
    const { name, namespace } = cluster.metadata;
    const { maxBytesPerSecond } = shardMove.spec;
    const group = layoutOf(cluster.spec.tables).groups.find((candidate) => candidate.name === move.group);
    const owned = map.groups.find((candidate) => candidate.name === move.group);
    if (group === undefined || owned === undefined) {
      throw new Error(`group "${move.group}" is not in the ShardMap and spec.tables`);
    }
    const endpoint = (shard: string) => ({
      host: primaryHost(name, shard, namespace),
      port: postgresPort,
      dbname: cluster.spec.postgres.database,
    });
    return {
      move,
      group,
      owned,
      targetEndpoint: endpoint(move.to),
      sourceAddress: addressOf(cluster, move.from),
      volumes,
      use(side, work, patient = false) {
        const reachable = primaryOf(side);
        return patient
          ? connections.use({ ...reachable, statementTimeoutMs: 0 }, work, watch.signal)
          : connections.use(reachable, work);
      },
      copying: {
        ...(maxBytesPerSecond === undefined ? {} : { maxBytesPerSecond }),
        report: watch.note,
        waits: watch.noteWait,
        signal: watch.signal,
      },
      open(side, { login, ...kind }) {
        return connect(asRole({ ...primaryOf(side), ...kind, statementTimeoutMs: 0 }, login));
      },
    };
  }

  function primaryOf(side: Side): ConnectOptions {
    const shard = side === 'source' ? move.from : move.to;
    const reachable = options.primaries.get(shard);
    if (reachable === undefined) throw new UnreachableError(`shard ${shard} has no primary that is ready`);
    return reachable;
  }
}

/** As somebody else, who has a password and no certificate. */
function asRole(options: ConnectOptions, login: SessionKind['login']): ConnectOptions {
  if (login === undefined) return options;
  const { tls } = options;
  if (tls === 'off') return { ...options, ...login };
  const { clientCertificate: _, ...trust } = tls;
  return { ...options, ...login, tls: trust };
}

interface Access<O, T> {
  partOf(object: O): T;
  write(object: O, value: T): Promise<O>;
}

/** A part of an object that is read from the API server itself, and changed by compare-and-swap. */
function objectStore<O extends KubernetesObject, T>(
  client: KubeClient,
  type: ResourceType,
  key: { readonly namespace: string; readonly name: string },
  signal: AbortSignal,
  { partOf, write }: Access<O, T>,
): Store<T> {
  let latest: O | undefined;
  const versioned = (object: O) => ({
    version: object.metadata.resourceVersion ?? '',
    value: partOf(object),
  });
  return {
    async read() {
      latest = await client.get<O>(type, key, { signal, timeoutMs: 5_000 });
      if (latest === undefined) throw new Error(`${type.kind} ${key.name} is not there`);
      return versioned(latest);
    },
    latest: () => (latest === undefined ? undefined : versioned(latest)),
    async replace(version, value) {
      if (latest?.metadata.resourceVersion !== version) return 'conflict';
      try {
        latest = await write(latest, value);
        return { version: latest.metadata.resourceVersion ?? '' };
      } catch (error) {
        if (error instanceof ApiError && error.status === 409) return 'conflict';
        throw error;
      }
    },
  };
}
