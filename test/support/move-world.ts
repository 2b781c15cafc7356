import type { ShardMapSpec } from '../../src/api/v1alpha1/shard-map.ts';
import type { Table } from '../../src/api/v1alpha1/table.ts';
import { applyBatches, readCatalog } from '../../src/postgres/catalog.ts';
import { type Connection, type ConnectOptions, connect } from '../../src/postgres/connection.ts';
import { ensureSchema } from '../../src/postgres/herdsman-schema.ts';
import { applyMigration } from '../../src/postgres/migrations.ts';
import type { MoveContext, SessionKind, Side } from '../../src/postgres/move/context.ts';
import { readFacts } from '../../src/postgres/move/facts.ts';
import { performStep } from '../../src/postgres/move/perform.ts';
import { findObstacles } from '../../src/postgres/move/preflight.ts';
import { applyRoles, ensurePasswords, planRoles, readRoles } from '../../src/postgres/roles.ts';
import { scramVerifier } from '../../src/postgres/scram.ts';
import { type Layout, layoutOf } from '../../src/sharding/layout.ts';
import { type LeavesPlan, planLeaves } from '../../src/sharding/leaves.ts';
import { initialMap } from '../../src/sharding/map.ts';
import {
  drive,
  type MoveWorld,
  type PassReport,
  type Store,
  type Versioned,
} from '../../src/sharding/move/drive.ts';
import {
  firstRecord,
  type Move,
  type MoveRecord,
  type Step,
  type StepResult,
} from '../../src/sharding/move/model.ts';
import { type PostgresServer, startPostgres } from './postgres-server.ts';

const application = 'app';
const password = 'an application';

/** Something in memory that is changed by compare-and-swap only. */
export function memoryStore<T>(value: T): Store<T> & { current: Versioned<T> } {
  return {
    current: { version: '1', value },
    async read() {
      return structuredClone(this.current);
    },
    async replace(version, next) {
      if (version !== this.current.version) return 'conflict';
      this.current = { version: String(Number(version) + 1), value: structuredClone(next) };
      return { version: this.current.version };
    },
  };
}

/** Two shards on servers of their own, made as the operator makes them, with their map. */
export interface MoveShards {
  readonly servers: readonly PostgresServer[];
  readonly layout: Layout;
  readonly map: ReturnType<typeof memoryStore<ShardMapSpec>>;
  /** How the server of one shard reaches that of another. */
  sourceAddress(from: string, to: string): Promise<Readonly<Record<string, string>>>;
  /** A session as the application. */
  connectApplication(shard: string): Promise<Connection>;
  /** A session as the operator. */
  connectOperator(shard: string): Promise<Connection>;
  /** A session as a copy opens it. */
  openSession(shard: string, kind: SessionKind): Promise<Connection>;
  /** What the cluster's own reconciling would do on a shard now. */
  planOf(shard: string): Promise<LeavesPlan>;
  /** Brings leaves, markers and mirrors up to the map on all shards. */
  reconcile(): Promise<void>;
  /** Rows of a statement as the superuser. */
  rows<Row extends object = Record<string, unknown>>(shard: string, text: string): Promise<Row[]>;
  stop(): Promise<void>;
}

/** Starts the shards with the tables that the SQL makes. */
export async function startShards(
  sql: string,
  tables: readonly Table[],
  { count = 2, ssl = false } = {},
): Promise<MoveShards> {
  const servers = await Promise.all(Array.from({ length: count }, () => startPostgres({ ssl })));
  const layout = layoutOf(tables);
  const names = servers.map((_, index) => `s${index}`);
  const map = memoryStore(
    initialMap(
      'test',
      layout,
      names.map((name) => ({ name })),
    ),
  );
  const serverOf = (shard: string) => {
    const server = servers[names.indexOf(shard)];
    if (server === undefined) throw new Error(`no shard ${shard}`);
    return server;
  };
  const open = async (shard: string, user: string, secret: string, more: Partial<ConnectOptions> = {}) => {
    const server = serverOf(shard);
    const { host, port, ca } = server;
    const base = { host, port, database: 'app', user, statementTimeoutMs: 60_000, ...more };
    if (!ssl) return connect({ ...base, password: secret, tls: 'off' });
    const tls = { ca, servername: 'localhost' };
    // The operator proves itself by its certificate, as in a cluster.
    if (user !== 'herdsman') return connect({ ...base, password: secret, tls });
    return connect({ ...base, tls: { ...tls, clientCertificate: await server.certificate('herdsman') } });
  };
  const connectOperator = (shard: string) => open(shard, 'herdsman', serverOf(shard).password);
  const sourceAddress = async (from: string, to: string) => {
    const { host, port } = serverOf(from);
    const address = { host, port: String(port), dbname: 'app' };
    if (!ssl) return { ...address, sslmode: 'disable' };
    // The file as the target's server sees it; both have the same authority.
    const [file] = await shards.rows<{ ssl_ca_file: string }>(to, 'SHOW ssl_ca_file');
    return { ...address, sslmode: 'verify-full', sslrootcert: file?.ssl_ca_file ?? '' };
  };
  const shards: MoveShards = {
    servers,
    layout,
    map,
    sourceAddress,
    connectOperator,
    openSession(shard, { login, ...more }) {
      const { user, password: secret } = login ?? { user: 'herdsman', password: serverOf(shard).password };
      return open(shard, user, secret, { ...more, statementTimeoutMs: 0 });
    },
    connectApplication: (shard) => open(shard, application, password),
    async planOf(shard) {
      const endpoints = Object.fromEntries(
        names.map((name) => [name, { host: name, port: 5432, dbname: 'app' }]),
      );
      const connection = await connectOperator(shard);
      try {
        const catalog = await readCatalog(connection);
        const shardIndex = names.indexOf(shard);
        return planLeaves({ shard, shardIndex, map: map.current.value, layout, catalog, endpoints });
      } finally {
        await connection.close();
      }
    },
    async reconcile() {
      for (const shard of names) {
        const plan = await shards.planOf(shard);
        if (plan.problems.length > 0) throw new Error(JSON.stringify(plan.problems));
        const connection = await connectOperator(shard);
        await applyBatches(connection, plan.batches);
        await connection.close();
      }
    },
    async rows(shard, text) {
      const connection = await open(shard, 'postgres', serverOf(shard).password);
      try {
        return await connection.query({ text });
      } finally {
        await connection.close();
      }
    },
    async stop() {
      await Promise.all(servers.map((server) => server.stop()));
    },
  };
  for (const shard of names) {
    const maintenance = await open(shard, 'herdsman', serverOf(shard).password, {
      database: 'postgres',
    });
    const roles = {
      operator: 'herdsman',
      database: 'app',
      application: { name: application, verifier: scramVerifier(password) },
      monitoring: { name: 'monitoring', verifier: scramVerifier(password) },
    };
    await applyRoles(maintenance, planRoles(roles, await readRoles(maintenance)));
    await maintenance.close();
    const operator = await connectOperator(shard);
    await ensureSchema(operator, { application, monitoring: 'monitoring' });
    await ensurePasswords(operator, [{ name: application, password }]);
    await operator.close();
    const owner = await shards.connectApplication(shard);
    const outcome = await applyMigration(owner, {
      shard,
      migration: { name: '1', sql },
      position: 1,
      layout,
    });
    await owner.close();
    if (outcome.kind !== 'applied') throw new Error(JSON.stringify(outcome));
  }
  await shards.reconcile();
  return shards;
}

/** What a test wants to be different from a plain move of a bucket of the first group from s0 to s1. */
export interface MoveOptions extends Partial<Move> {
  /** Number of the bucket; the first one of the source. */
  readonly bucket?: number;
}

/** The end of an operator between two steps. */
export class Crash extends Error {}

let moves = 0;

/** A move with the record that outlives its operators. */
export interface TestMove {
  move: Move;
  readonly record: ReturnType<typeof memoryStore<MoveRecord>>;
  /** Steps that were tried, with how they ended. */
  readonly steps: { readonly step: Step; readonly result: StepResult | 'unknown'; readonly tookMs: number }[];
  /** A new operator that knows nothing but what is stored; it crashes when it has done a step of this kind. */
  operator(crashesAfter?: Step['kind']): MoveOperator;
}

/** One operator's hold on a move. */
export interface MoveOperator {
  readonly world: MoveWorld;
  pass(): Promise<PassReport>;
  /** Goes on until the condition holds for the report, or the record says that the move has ended or is retained. */
  run(until?: (report: PassReport) => boolean): Promise<PassReport>;
  close(): Promise<void>;
}

/** Plans a move; nothing happens before an operator runs. */
export function planMove(shards: MoveShards, { bucket, ...options }: MoveOptions = {}): TestMove {
  moves += 1;
  const id = moves.toString(16).padStart(8, '0');
  const group = options.group ?? shards.layout.groups[0]?.name ?? '';
  const owned = shards.map.current.value.groups.find((candidate) => candidate.name === group);
  const from = options.from ?? 's0';
  const first = owned?.buckets.find(({ id, shard }) =>
    bucket === undefined ? shard === from : id === bucket,
  );
  const { shard: _shard, epoch: _epoch, pending: _pending, ...bound } = first ?? { id: -1 };
  const parents = options.parents ?? [bound];
  const test: TestMove = {
    move: {
      key: `move-${moves}.${id}`,
      id,
      group,
      parents,
      children: parents,
      from,
      to: 's1',
      verify: 'full',
      cancel: false,
      retentionMs: 3_600_000,
      ...options,
    },
    record: memoryStore(firstRecord),
    steps: [],
    operator: (crashesAfter) => operatorOf(shards, test, crashesAfter),
  };
  return test;
}

/** Has one operator do the whole of a move. */
export async function complete(test: TestMove): Promise<void> {
  const operator = test.operator();
  await operator.run();
  await operator.close();
}

function operatorOf(shards: MoveShards, test: TestMove, crashesAfter?: Step['kind']): MoveOperator {
  const free: Record<Side, Connection[]> = { source: [], target: [] };
  const use: MoveContext['use'] = async (side, work) => {
    const shard = side === 'source' ? test.move.from : test.move.to;
    let connection = free[side].pop();
    if (connection === undefined || connection.closed) connection = await shards.connectOperator(shard);
    try {
      return await work(connection);
    } finally {
      if (!connection.closed) free[side].push(connection);
    }
  };
  const address = shards.sourceAddress(test.move.from, test.move.to);
  const context = async (): Promise<MoveContext> => contextOf(shards, test.move, use, await address);
  const world: MoveWorld = {
    map: shards.map,
    record: test.record,
    async observe(side) {
      const known = await context();
      return use(side, (connection) => readFacts(connection, known, side, Date.now()));
    },
    obstacles: async () => findObstacles(await context()),
    rival: async () => 'none',
    perform: async (_, step, view) => performStep(await context(), step, view),
    now: () => Date.now(),
    onStep(step, result, tookMs) {
      test.steps.push({ step, result, tookMs });
      const isDone = result !== 'unknown' && result.kind === 'done';
      if (isDone && step.kind === crashesAfter) throw new Crash();
    },
  };
  const pass = () => drive(world, test.move);
  return {
    world,
    pass,
    async run(until = () => false) {
      for (;;) {
        const report = await pass();
        if (report.reason === 'Refused' && report.afterMs > 1_000) throw new Error(report.message);
        const { phase } = test.record.current.value;
        if (report.ended || until(report)) return report;
        if (phase === 'retain' && report.reason === 'Retained') return report;
        await new Promise((resolve) => setTimeout(resolve, Math.min(report.afterMs, 1_000)));
      }
    },
    async close() {
      const open = [...free.source.splice(0), ...free.target.splice(0)];
      await Promise.all(open.map((connection) => connection.close()));
    },
  };
}

function contextOf(
  shards: MoveShards,
  move: Move,
  use: MoveContext['use'],
  sourceAddress: MoveContext['sourceAddress'],
): MoveContext {
  const group = shards.layout.groups.find((candidate) => candidate.name === move.group);
  const owned = shards.map.current.value.groups.find((candidate) => candidate.name === move.group);
  if (group === undefined || owned === undefined) throw new Error(`there is no group ${move.group}`);
  return {
    move,
    group,
    owned,
    use,
    open: (side, kind) => shards.openSession(side === 'source' ? move.from : move.to, kind),
    targetEndpoint: { host: move.to, port: 5432, dbname: 'app' },
    sourceAddress,
  };
}
