import type { ImportSpec } from '../../src/api/v1alpha1/import.ts';
import { type Connection, connect } from '../../src/postgres/connection.ts';
import type { ConversionStep as ImportStep } from '../../src/postgres/conversion/context.ts';
import {
  connectionHash,
  type ImportContext,
  type SourceLogin,
  sourceConninfo,
  sourceOptions,
} from '../../src/postgres/import/context.ts';
import { lookAtShard, lookAtSource } from '../../src/postgres/import/look.ts';
import { performImportStep } from '../../src/postgres/import/perform.ts';
import { type ImportPlan, type ImportView, planImport } from '../../src/sharding/import/plan.ts';
import { openOperator, type TestShard } from '../postgres/world.ts';

/** An import from one server into a shard, by one operator after another. */
export class Import {
  readonly name: string;
  readonly shard: TestShard;
  readonly login: SourceLogin;
  wanted: ImportSpec | undefined;
  /** As the wanted one was last. */
  source: ImportSpec;

  constructor(name: string, shard: TestShard, source: ImportSpec, login: SourceLogin) {
    this.name = name;
    this.shard = shard;
    this.login = login;
    this.source = source;
    this.wanted = source;
  }

  /** Changes what the user wants. */
  want(change: Partial<ImportSpec> | undefined): void {
    this.wanted = change === undefined ? undefined : { ...this.source, ...change };
    if (this.wanted !== undefined) this.source = this.wanted;
  }

  async look(): Promise<{ readonly plan: ImportPlan; readonly view: ImportView }> {
    const context = this.#context();
    const shard = await context.useShard((connection) => lookAtShard(connection, this.name));
    const conninfo = sourceConninfo(this.source, this.login, this.name);
    let source: ImportView['source'];
    try {
      const facts = await context.useSource((connection) => lookAtSource(connection, this.name));
      source = { state: 'known', facts };
    } catch (error) {
      source = { state: 'unknown', reason: 'SourceUnreachable', message: String(error) };
    }
    const view: ImportView = {
      wanted: this.wanted,
      shard,
      source,
      connection: connectionHash(conninfo),
      volume: { bytes: 2 ** 40 },
      nowMs: Date.now(),
    };
    return { plan: planImport(view), view };
  }

  /** Does what is planned, on sessions of its own; the operator may be killed at one of their queries. */
  async perform(
    { plan, view }: { readonly plan: ImportPlan; readonly view: ImportView },
    kill?: Kill,
  ): Promise<ImportStep> {
    if (plan.kind !== 'step' || view.shard === undefined) throw new Error(JSON.stringify(plan));
    const facts = {
      shard: view.shard,
      source: view.source.state === 'known' ? view.source.facts : undefined,
    };
    return performImportStep(this.#context(kill), plan.step, facts);
  }

  /** Goes on until the plan is as wanted; answers the kinds of steps that were done. */
  async run(until: (plan: ImportPlan) => boolean): Promise<string[]> {
    const steps: string[] = [];
    const endsMs = Date.now() + 60_000;
    let last: unknown;
    while (Date.now() < endsMs) {
      const seen = await this.look();
      if (until(seen.plan)) return steps;
      last = seen.plan;
      if (seen.plan.kind === 'step') {
        const result = await this.perform(seen).catch((error: unknown) => {
          throw new Error(`${JSON.stringify(seen.plan)} after ${steps.join(', ')}: ${error}`);
        });
        last = [seen.plan, result];
        if (result.kind !== 'waiting') steps.push(seen.plan.step);
      } else await new Promise((resolve) => setTimeout(resolve, 20));
    }
    throw new Error(`no end: ${steps.join(', ')}: ${JSON.stringify(last)}`);
  }

  #context(kill?: Kill): ImportContext {
    const lend = async <T>(opening: Promise<Connection>, work: (connection: Connection) => Promise<T>) => {
      const connection = await opening;
      if (kill !== undefined) armed(connection, kill);
      try {
        return await work(connection);
      } finally {
        await connection.close();
      }
    };
    return {
      name: this.name,
      source: this.source,
      login: this.login,
      destination: 'cluster "test"',
      useSource: (work) => lend(connect(sourceOptions(this.source, this.login, this.name, true)), work),
      useShard: (work) => lend(openOperator(this.shard.database), work),
    };
  }
}

/** At which query of a step, counted over all its sessions, the operator dies: before it is sent, or before its answer is read. */
export class Kill {
  fired = false;
  #left: number;
  readonly #when: 'before' | 'after';

  constructor(nth: number, when: 'before' | 'after') {
    this.#left = nth;
    this.#when = when;
  }

  async query<T>(end: () => void, send: () => Promise<T>): Promise<T> {
    this.#left -= 1;
    if (this.#left !== 0) return send();
    this.fired = true;
    if (this.#when === 'after') await send();
    end();
    throw new Error('the operator was killed');
  }
}

function armed({ client }: Connection, kill: Kill): void {
  const query = client.query.bind(client) as (...values: unknown[]) => Promise<unknown>;
  const end = (): void => {
    (client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
  };
  client.query = ((...values: unknown[]) => kill.query(end, () => query(...values))) as typeof client.query;
}

/** Whether the plan is to wait or to refuse for a reason. */
export function waitsFor(reason: string): (plan: ImportPlan) => boolean {
  return (plan) => (plan.kind === 'wait' || plan.kind === 'refuse') && plan.reason === reason;
}

/** Whether nothing is left to do. */
export function isOver(plan: ImportPlan): boolean {
  return plan.kind === 'none';
}
