import {
  type Change,
  createInformer,
  type Informer,
  type InformerOptions,
} from '../../src/runtime/informer.ts';
import { configMapType } from '../../src/runtime/kubernetes-types.ts';
import { createManualClock, type ManualClock } from '../support/manual-clock.ts';
import type { ScriptedApiServer } from '../support/scripted-api-server.ts';
import { type ConfigMap, connect, testSignal, until } from './connect.ts';

export interface Followed {
  readonly server: ScriptedApiServer;
  readonly informer: Informer<ConfigMap>;
  readonly clock: ManualClock;
  /** `added settings`, `updated settings`, … in order. */
  readonly changes: string[];
  readonly restarts: string[];
  names(): string[];
}

/** An informer of a server, synced and watching. */
export async function follow(
  server: ScriptedApiServer,
  options: Partial<InformerOptions<ConfigMap>> = {},
  watches = 1,
): Promise<Followed> {
  const client = await connect(server);
  const clock = createManualClock();
  const restarts: string[] = [];
  const informer = createInformer<ConfigMap>(
    { type: configMapType, ...options },
    { client, clock, random: () => 0.5, onRestart: (type, reason) => restarts.push(`${type} ${reason}`) },
  );
  const changes: string[] = [];
  informer.onChange((change) => changes.push(describe(change)));
  const signal = testSignal();
  informer.start(signal);
  await informer.waitForSync(signal);
  await until('the watches are open', () => server.watches.length === watches);
  const names = (): string[] => informer.cache.list().map(({ metadata }) => metadata.name);
  return { server, informer, clock, changes, restarts, names };
}

/** `added settings`: what a change does, and to what. */
export function describe(change: Change<ConfigMap>): string {
  return `${change.kind} ${(change.current ?? change.old)?.metadata.name}`;
}

/** How often the server was asked for a list. */
export function lists(server: ScriptedApiServer): number {
  return server.requests.filter(({ query }) => !query.has('watch')).length;
}

/** The queries of all watches the server was asked for, in order. */
export function watchRequests(server: ScriptedApiServer): URLSearchParams[] {
  return server.requests.filter(({ query }) => query.has('watch')).map(({ query }) => query);
}
