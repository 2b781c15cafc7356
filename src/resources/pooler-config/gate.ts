import { durationMs } from '../../api/v1alpha1/duration.ts';
import { poolerConfigSpec } from '../../api/v1alpha1/pooler-config.ts';
import { type Console, openConsole } from '../../postgres/pgbouncer-console.ts';
import { type Clock, pause } from '../../runtime/clock.ts';
import { keyString } from '../../runtime/kubernetes-object.ts';
import type { Logger } from '../../runtime/logger.ts';
import { isPodReady, type Pod } from '../sharded-cluster/kubernetes.ts';
import type { GatedShard, PoolerGate } from '../sharded-cluster/pooler-gate.ts';
import type { ConsoleAccess } from './console-access.ts';
import { type GatedShards, shardKey } from './gated-shards.ts';
import type { PoolerConfig } from './model.ts';
import { databaseName } from './names.ts';
import { byPooler, byTarget, type PoolerSources } from './sources.ts';

/** What a gate works with. */
export interface GateDependencies {
  readonly poolerSources: PoolerSources;
  /** Reads how to reach the consoles of a PoolerConfig. */
  readonly access: (
    pooler: Pick<PoolerConfig, 'metadata'>,
    signal: AbortSignal,
  ) => Promise<ConsoleAccess | undefined>;
  readonly gated: GatedShards;
  readonly clock: Clock;
  readonly log: Logger;
}

/** One database of one instance whose clients wait. */
interface Held {
  readonly key: string;
  /** Resolves when no transaction is left. */
  readonly drained: Promise<void>;
  release(): Promise<void>;
}

/** An instance that shall hold back clients of a database. */
interface Candidate {
  readonly pod: Pod;
  readonly access: ConsoleAccess;
  readonly database: string;
}

/** Share of `maxPause` in which transactions may end; the rest is for the switchover. */
const drainShare = 0.3;
const pollMs = 50;
/**
 * How long an answer is waited for. Packets to an endpoint that is just being taken away are lost, so soon tried again is soon
 * there; on a machine that is short of time an answer takes longer.
 */
const patience = { leastMs: 300, mostMs: 2_000 };

/** The gate of the poolers that are there. */
export function createPoolerGate({ poolerSources, access, gated, clock, log }: GateDependencies): PoolerGate {
  async function candidatesOf(
    shard: GatedShard,
    signal: AbortSignal,
  ): Promise<{ candidates: Candidate[]; poolers: string[]; maxPauseMs: number }> {
    const { namespace, cluster } = shard;
    const found = poolerSources.poolers.cache
      .byIndex(byTarget, keyString({ namespace, name: cluster }))
      .map((pooler): PoolerConfig => ({ ...pooler, spec: poolerConfigSpec.parse(pooler.spec) }))
      .filter(({ spec: { engine, target }, metadata }) => {
        const isAway = metadata.deletionTimestamp !== undefined;
        // Pgpool-II cannot make its clients wait.
        if (engine === 'pgpool') return false;
        return target.role === shard.role && target.readReplicaSet === undefined && !isAway;
      })
      .map((pooler) => ({ pooler, maxPauseMs: durationMs(pooler.spec.maxPause) ?? 0 }))
      .filter(({ maxPauseMs }) => maxPauseMs > 0);
    const candidates = await Promise.all(
      found.map(async ({ pooler }) => {
        const console = await access(pooler, signal);
        const pods = poolerSources.pods.cache.byIndex(
          byPooler,
          keyString({ namespace, name: pooler.metadata.name }),
        );
        const databases = databasesTo(pooler, shard);
        return console === undefined
          ? []
          : pods
              .filter(isPodReady)
              .flatMap((pod) => databases.map((database) => ({ pod, access: console, database })));
      }),
    );
    return {
      candidates: candidates.flat(),
      poolers: found.map(({ pooler }) => pooler.metadata.name),
      maxPauseMs: Math.min(...found.map((entry) => entry.maxPauseMs)),
    };
  }

  /** A pooler that cannot be reached holds nobody back: its clients see what they would see without a gate. */
  async function hold(candidate: Candidate): Promise<Held[]> {
    const { pod, database } = candidate;
    const address = pod.status?.podIP ?? '';
    const key = `${pod.metadata.uid}/${database}`;
    // Who holds it already lets it go, too.
    if (gated.held.has(key)) return [];
    gated.held.add(key);
    let console: Console;
    try {
      console = await openConsole({ ...candidate.access.options(address), timeoutMs: 1_000 });
    } catch (error) {
      gated.held.delete(key);
      log.warn({ pod: pod.metadata.name, error: messageOf(error) }, 'pooler is not paused');
      return [];
    }
    // Another session than the one that waits for the pause has to end it.
    const drained = console.pause(database).catch(() => undefined);
    return [
      {
        key,
        drained,
        async release() {
          try {
            const other = await openConsole({ ...candidate.access.options(address), timeoutMs: 2_000 });
            await other.resume(database).finally(() => other.close());
          } catch (error) {
            log.warn({ pod: pod.metadata.name, error: messageOf(error) }, 'pooler is not resumed');
          } finally {
            // From now on the controller resumes what is found paused.
            gated.held.delete(key);
            await console.close();
          }
        },
      },
    ];
  }

  function noteSwitched({ namespace, shard, role }: GatedShard, poolers: readonly string[]): void {
    if (role === 'ro') return;
    for (const pooler of poolers) gated.switched.add(shardKey({ namespace, pooler, shard }));
  }

  return {
    async whilePaused(shard, work, signal) {
      const { candidates, poolers, maxPauseMs } = await candidatesOf(shard, signal);
      if (candidates.length === 0) return work();
      const startedMs = clock.monotonicMs();
      const leftMs = () => Math.max(0, maxPauseMs - (clock.monotonicMs() - startedMs));
      const [before, held] = await Promise.all([
        shard.isLost === true ? undefined : shard.servedBy(patience.mostMs),
        Promise.all(candidates.map(hold)),
      ]);
      const paused = held.flat();
      let released: Promise<unknown> | undefined;
      const release = () => {
        released ??= Promise.all(paused.map((entry) => entry.release()));
        return released;
      };
      const cancel = clock.after(leftMs() * 0.95, () => void release());
      try {
        await Promise.race([
          Promise.all(paused.map((entry) => entry.drained)),
          pause(clock, maxPauseMs * drainShare, signal),
        ]);
        let state = 'running' as 'running' | 'done' | 'failed';
        const working = work().then(
          () => {
            state = 'done';
          },
          (error: Error) => {
            state = 'failed';
            throw error;
          },
        );
        // Its failure is thrown below, where it is waited for.
        working.catch(() => undefined);
        let patienceMs = patience.leastMs;
        const goesOn = async () => {
          const askedMs = clock.monotonicMs();
          const now = await shard.servedBy(patienceMs);
          const tookMs = clock.monotonicMs() - askedMs;
          if (now === undefined && tookMs >= patienceMs)
            patienceMs = Math.min(patience.mostMs, patienceMs * 2);
          // Patroni looks once a second whether a switchover is done: whoever serves instead is noticed sooner.
          return now !== undefined && (state !== 'running' || (before !== undefined && now !== before));
        };
        while (leftMs() > 0 && !signal.aborted) {
          if (await goesOn()) {
            // One that was not held may have connections to the old primary left, which the controller then ends.
            if (state !== 'failed' && paused.length === candidates.length) noteSwitched(shard, poolers);
            break;
          }
          await pause(clock, pollMs, signal);
        }
        await release();
        await working;
      } finally {
        cancel();
        await release();
        log.info(
          { shard: shard.shard, poolers: paused.length, ms: Math.round(clock.monotonicMs() - startedMs) },
          'clients of poolers were held back',
        );
      }
    },
  };
}

/** Names under which clients reach the shard: those that the PoolerConfig's status shows. */
function databasesTo({ status, spec }: PoolerConfig, { shard, database }: GatedShard): string[] {
  const named = status?.databases?.filter((entry) => entry.shard === shard).map((entry) => entry.name) ?? [];
  return named.length > 0 ? named : [databaseName(database, undefined, spec.target.role)];
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
