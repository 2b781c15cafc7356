import type { Clock } from '../../runtime/clock.ts';
import type { EventRecorder } from '../../runtime/events.ts';
import type { KubeClient } from '../../runtime/kube-client.ts';
import { replicaSetLabel, selectorText } from '../sharded-cluster/names.ts';
import { type AutoscalingStatus, autoscale, describeMetrics, withClockSet } from './autoscale.ts';
import { readCpuUse } from './cpu.ts';
import { askBeside } from './inquiry.ts';
import { addSample, type CpuUse, measure } from './load.ts';
import type { SetMemory } from './memory.ts';
import type { ObservedSet, ReadReplicaSet } from './model.ts';
import { brakeOf } from './steps/brake.ts';
import { sizeOf } from './steps/size.ts';

/** Measures the load of sets, and decides from time to time. */
export interface Autoscaler {
  /** The last decision, or a new one when it is time; `undefined` for a set without autoscaling. */
  decide(
    set: ReadReplicaSet,
    seen: Omit<ObservedSet, 'replicas'>,
    memory: SetMemory,
    signal: AbortSignal,
  ): AutoscalingStatus | undefined;
}

/** What it works with. */
export interface AutoscalerDependencies {
  readonly client: Pick<KubeClient, 'request'>;
  readonly events: EventRecorder;
  readonly clock: Clock;
}

/** How often it decides. */
const decideMs = 15_000;
/** After so long without a decision nobody knows what was enough meanwhile. */
const unwatchedMs = 60_000;

/** What the metrics server has said since the last decision; it is asked beside the passes, which wait for SQL alone. */
function takeCpuUse(memory: SetMemory, ask: () => Promise<CpuUse>): CpuUse | undefined {
  const { cpuUse } = memory;
  memory.cpuUse = undefined;
  if (cpuUse !== undefined) return cpuUse;
  askBeside(memory, 'CPU', async () => {
    memory.cpuUse = await ask();
  });
  return undefined;
}

/** An autoscaler. */
export function createAutoscaler({ client, events, clock }: AutoscalerDependencies): Autoscaler {
  function tell(set: ReadReplicaSet, reason: string, text: string, { metrics }: AutoscalingStatus): void {
    const note = `${text}. Measured: ${describeMetrics(metrics)}`;
    events.record(set, { type: 'Normal', reason, action: 'Autoscale', note });
  }

  return {
    decide(set, seen, memory, signal) {
      const { autoscaling: spec } = set.spec;
      if (spec === undefined) {
        memory.autoscaling = undefined;
        return undefined;
      }
      const shards = seen.shards.filter(({ isWanted }) => isWanted);
      const atMs = clock.monotonicMs();
      for (const { name: shard, members } of shards) {
        for (const { name, rotation, stats, lag } of members) {
          if (rotation !== 'in' || stats.state !== 'present') continue;
          addSample(memory.window.load, shard, name, {
            stats: stats.value,
            lagSeconds: lag?.seconds,
            atMs,
          });
        }
      }
      const now = clock.now();
      const { clocks } = memory;
      memory.clocks = { nowMs: now.getTime(), atMs };
      // A clock that is set forward makes nothing of what was low only just a long quiet time.
      const setByMs = clocks === undefined ? 0 : now.getTime() - clocks.nowMs - (atMs - clocks.atMs);
      if (memory.autoscaling !== undefined) memory.autoscaling = withClockSet(memory.autoscaling, setByMs);
      const last = memory.autoscaling ?? set.status?.autoscaling;
      // A dry run looks at what there is, and never acts on itself.
      const current = wantedReplicas(set, seen.shards, last);
      const isDue = atMs - memory.window.sinceMs >= decideMs;
      const isOutside = current < spec.minReplicas || current > spec.maxReplicas;
      if (last !== undefined && !isDue && (!isOutside || spec.dryRun)) return last;
      const types = spec.metrics.map(({ type }) => type);
      const resources = set.spec.resources ?? seen.cluster?.spec.resources ?? {};
      const selector = selectorText({ [replicaSetLabel]: set.metadata.name });
      const cpu = types.includes('CPU')
        ? takeCpuUse(memory, () => readCpuUse(client, set.metadata.namespace, selector, resources, signal))
        : 'CPU is not among the metrics';
      if (cpu === undefined) return last;
      const ready = Math.min(
        ...shards.map(({ members }) => members.filter(({ rotation }) => rotation === 'in').length),
      );
      // A set that was suspended, or had no operator, may have been busy all the while.
      const isWatched = memory.autoscaling !== undefined && atMs - memory.window.sinceMs < unwatchedMs;
      const decided = autoscale({
        spec,
        current,
        ready: shards.length === 0 ? 0 : ready,
        measured: measure(
          memory.window.load,
          shards.map(({ name, members }) => ({
            name,
            inRotation: members.filter(({ rotation }) => rotation === 'in').map((member) => member.name),
          })),
          types,
          cpu,
        ),
        brake: brakeOf({ set, observed: { ...seen, replicas: current }, now }),
        last: { lastScaleTime: last?.lastScaleTime, quietSince: isWatched ? last?.quietSince : undefined },
        now,
      });
      const { lastScaleTime: _, ...unscaled } = decided;
      const decision = spec.dryRun ? unscaled : decided;
      memory.window = { load: new Map(), sinceMs: atMs };
      memory.autoscaling = decision;
      // A dry run comes to the same decision again and again, since nothing follows from it.
      if (last !== undefined && decision.desired !== last.desired) {
        tell(
          set,
          'Scaled',
          `${changeOf(spec.dryRun, current, decision.desired)}: ${decision.message}`,
          decision,
        );
      }
      if (decision.heldBy !== undefined && decision.heldBy !== last?.heldBy)
        tell(set, 'ScalingHeld', `${decision.message}; held, since ${decision.heldBy}`, decision);
      return decision;
    },
  };
}

/**
 * Members per shard that are wanted: `spec.replicas`, or what was decided. Nobody is taken away before the first decision, which
 * starts from what is there, nor by a dry run, also none that were added before it was one.
 */
export function wantedReplicas(
  { spec }: ReadReplicaSet,
  shards: ObservedSet['shards'],
  decision: Pick<AutoscalingStatus, 'desired'> | undefined,
): number {
  if (spec.autoscaling === undefined) return spec.replicas;
  if (!spec.autoscaling.dryRun && decision !== undefined) return decision.desired;
  const present = shards.filter(({ isWanted }) => isWanted).map(sizeOf);
  return Math.max(spec.replicas, ...present);
}

function changeOf(isDryRun: boolean, from: number, to: number): string {
  if (from === to) return `would stay at ${to} members per shard`;
  return `${isDryRun ? 'would scale' : 'scales'} from ${from} to ${to} members per shard`;
}
