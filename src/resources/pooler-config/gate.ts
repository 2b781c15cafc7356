import { durationMs } from '../../api/v1alpha1/duration.ts';
import { poolerConfigSpec } from '../../api/v1alpha1/pooler-config.ts';
import { type Clock, pause } from '../../runtime/clock.ts';
import { keyString } from '../../runtime/kubernetes-object.ts';
import type { Logger } from '../../runtime/logger.ts';
import type { Pod } from '../sharded-cluster/kubernetes.ts';
import type { GatedShard, PoolerGate, Server } from '../sharded-cluster/pooler-gate.ts';
import type { ConsoleAccess } from './console-access.ts';
import { type GatedShards, shardKey } from './gated-shards.ts';
import { type Candidate, holdBack } from './hold.ts';
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

/** Share of `maxPause` in which transactions may end; the rest is for the switchover. */
const drainShare = 0.3;
/**
 * Packets to an endpoint that is just being taken away are lost, and an answer that will never come is not waited for: the next
 * is asked for meanwhile, by so many at most. On a machine that is short of time an answer takes long.
 */
const asking = { everyMs: 100, patienceMs: 1_500, mostAtOnce: 6 };

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
      .filter(
        ({ spec, metadata }) => spec.target.role === shard.role && metadata.deletionTimestamp === undefined,
      )
      .map((pooler) => ({ pooler, maxPauseMs: longestPauseMs(pooler) }))
      .filter(({ maxPauseMs }) => maxPauseMs > 0);
    const candidates = await Promise.all(
      found.map(async ({ pooler }) => {
        const console = await access(pooler, signal);
        const pods = poolerSources.pods.cache.byIndex(
          byPooler,
          keyString({ namespace, name: pooler.metadata.name }),
        );
        const databases = databasesTo(pooler, shard);
        const { minPoolSize } = pooler.spec;
        return console === undefined
          ? []
          : pods
              .filter(takesRequests)
              .flatMap((pod) =>
                databases.map((database) => ({ pod, access: console, database, minPoolSize })),
              );
      }),
    );
    return {
      candidates: candidates.flat(),
      poolers: found.map(({ pooler }) => pooler.metadata.name),
      maxPauseMs: Math.min(...found.map((entry) => entry.maxPauseMs)),
    };
  }

  /** Whether there was an answer as wanted before the time was up. */
  async function untilAnswered(
    ask: () => Promise<boolean>,
    leftMs: () => number,
    signal: AbortSignal,
  ): Promise<boolean> {
    const answer = Promise.withResolvers<void>();
    let isAnswered = false;
    let waiting = 0;
    const askOnce = async (): Promise<void> => {
      waiting += 1;
      const isAsWanted = await ask().catch(() => false);
      waiting -= 1;
      if (!isAsWanted) return;
      isAnswered = true;
      answer.resolve();
    };
    while (!isAnswered && leftMs() > 0 && !signal.aborted) {
      if (waiting < asking.mostAtOnce) void askOnce();
      await Promise.race([answer.promise, pause(clock, asking.everyMs, signal)]);
    }
    return isAnswered;
  }

  function noteSwitched(
    { namespace, shard, role }: GatedShard,
    poolers: readonly string[],
    to: string | undefined,
  ): void {
    if (role === 'ro') return;
    for (const pooler of poolers)
      gated.switched.set(shardKey({ namespace, pooler, shard }), { atMs: clock.monotonicMs(), to });
  }

  return {
    async whilePaused(shard, work, signal) {
      const { candidates, poolers, maxPauseMs } = await candidatesOf(shard, signal);
      if (candidates.length === 0) return work();
      // Asked while nobody waits for it yet.
      const before = await shard.servedBy(asking.patienceMs);
      const startedMs = clock.monotonicMs();
      const passedMs = () => clock.monotonicMs() - startedMs;
      const leftMs = () => Math.max(0, maxPauseMs - passedMs());
      const holding = candidates.map((candidate) => holdBack(candidate, { gated, clock, log }));
      const paused = (await Promise.all(holding)).filter((held) => held !== undefined);
      let released: Promise<unknown> | undefined;
      const release = () => {
        released ??= Promise.all(paused.map((entry) => entry.release()));
        return released;
      };
      const cancel = clock.after(leftMs() * 0.95, () => void release());
      const atMs: Record<string, number> = {};
      try {
        await Promise.race([
          Promise.all(paused.map((entry) => entry.drained)),
          pause(clock, maxPauseMs * drainShare, signal),
        ]);
        atMs.drained = passedMs();
        let state = 'running' as 'running' | 'done' | 'failed';
        let serving = undefined as Server | undefined;
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
        const goesOn = async () => {
          const wasRunning = state === 'running';
          const now = await shard.servedBy(asking.patienceMs);
          // Patroni looks once a second whether a switchover is done: whoever serves instead is noticed sooner.
          if (now === undefined || (wasRunning && (before === undefined || now.id === before.id)))
            return false;
          serving ??= now;
          return true;
        };
        // One that was not held may have connections to the old primary left, which the controller then ends.
        if (
          (await untilAnswered(goesOn, leftMs, signal)) &&
          state !== 'failed' &&
          paused.length === candidates.length
        )
          noteSwitched(shard, poolers, serving?.address);
        atMs.served = passedMs();
        await release();
        atMs.released = passedMs();
        await working;
      } finally {
        cancel();
        await release();
        const { drained, served, released: on } = atMs;
        log.info(
          {
            shard: shard.shard,
            poolers: paused.length,
            drainedMs: rounded(drained),
            servedMs: rounded(served),
            releasedMs: rounded(on),
            ms: Math.round(passedMs()),
          },
          'clients of poolers were held back',
        );
      }
    },
  };
}

/** For how long clients may be held back, in milliseconds; 0: not at all. */
function longestPauseMs({ spec }: PoolerConfig): number {
  // Pgpool-II cannot make its clients wait, and members of a ReadReplicaSet come and go by its rotation.
  if (spec.engine === 'pgpool' || spec.target.readReplicaSet !== undefined) return 0;
  return durationMs(spec.maxPause) ?? 0;
}

/** Whether an instance has clients: one that is about to go does, too, until they have left. */
function takesRequests({ status }: Pod): boolean {
  return status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') === true;
}

/** Names under which clients reach the shard: those that the PoolerConfig's status shows. */
function databasesTo({ status, spec }: PoolerConfig, { shard, database }: GatedShard): string[] {
  const named = status?.databases?.filter((entry) => entry.shard === shard).map((entry) => entry.name) ?? [];
  return named.length > 0 ? named : [databaseName(database, undefined, spec.target.role)];
}

function rounded(ms: number | undefined): number | undefined {
  return ms === undefined ? undefined : Math.round(ms);
}
