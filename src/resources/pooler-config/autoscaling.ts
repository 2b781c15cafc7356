import { durationMs } from '../../api/v1alpha1/duration.ts';
import type { PoolerConfigSpec } from '../../api/v1alpha1/pooler-config.ts';

/** What the number of instances is decided on. */
export interface ScalingInput {
  readonly spec: Pick<PoolerConfigSpec, 'replicas' | 'autoscaling'>;
  /** Number decided last; `undefined` before the first decision. */
  readonly current: number | undefined;
  /** Since when fewer would have been enough. */
  readonly enoughSince: string | undefined;
  /** What each instance that answers says. */
  readonly loads: readonly {
    /** Clients for whom another instance may have a connection. */
    readonly waiting: number;
    readonly maxWaitSeconds: number;
    /** Whether there are others, that wait for a server to be there. */
    readonly waitsForServer: boolean;
    /** Share of one core in per cent; `undefined` when nobody measures it. */
    readonly cpuPercent: number | undefined;
  }[];
  readonly now: Date;
}

/** How many instances there shall be, and why. */
export interface ScalingDecision {
  readonly replicas: number;
  readonly reason: string | undefined;
  readonly enoughSince: string | undefined;
}

/**
 * More instances at once when load asks for them, one less at a time when fewer have been enough for a while. Nothing changes
 * while an instance does not answer. It never becomes fewer without a metrics server, and while clients wait for a server: they use
 * no processor time, and are there again when it is.
 */
export function decideReplicas({ spec, current, enoughSince, loads, now }: ScalingInput): ScalingDecision {
  const { autoscaling } = spec;
  if (autoscaling === undefined)
    return { replicas: spec.replicas, reason: undefined, enoughSince: undefined };
  const clamp = (count: number) =>
    Math.min(autoscaling.maxReplicas, Math.max(autoscaling.minReplicas, count));
  const present = clamp(current ?? spec.replicas);
  const wish = wishOf(autoscaling, present, loads);
  const wanted = clamp(wish.count);
  const stays = (reason: string) => ({ replicas: present, reason, enoughSince: undefined });
  if (wanted === present) return stays(wish.reason);
  // One that was added last may be what is needed, and has to show it first.
  if (loads.length < present)
    return stays(`${wish.reason}; ${present - loads.length} instances do not answer yet`);
  if (wanted > present) return decided(autoscaling.dryRun, present, wanted, wish.reason, undefined);
  if (loads.some((load) => load.waitsForServer))
    return stays(`${wish.reason}; none is taken away while clients wait for a server`);
  if (loads.some((load) => load.cpuPercent === undefined))
    return stays(`${wish.reason}; none is taken away, for nobody measures their CPU (metrics.k8s.io)`);
  const since = enoughSince ?? seconds(now);
  const waitedMs = now.getTime() - Date.parse(since);
  if (waitedMs < (durationMs(autoscaling.stabilization) ?? 0))
    return { replicas: present, reason: wish.reason, enoughSince: since };
  const reason = `${wanted} would have been enough since ${since}`;
  return decided(autoscaling.dryRun, present, present - 1, reason, undefined);
}

function decided(
  dryRun: boolean,
  present: number,
  wanted: number,
  reason: string,
  enoughSince: string | undefined,
): ScalingDecision {
  if (!dryRun) return { replicas: wanted, reason, enoughSince };
  return { replicas: present, reason: `dry run: ${wanted} would be wanted, since ${reason}`, enoughSince };
}

function wishOf(
  autoscaling: NonNullable<PoolerConfigSpec['autoscaling']>,
  present: number,
  loads: ScalingInput['loads'],
): { count: number; reason: string } {
  const cpu = loads.reduce((sum, load) => sum + (load.cpuPercent ?? 0), 0);
  const byCpu = Math.ceil(cpu / autoscaling.cpuPercent);
  const waiting = loads.reduce((sum, load) => sum + load.waiting, 0);
  const byWaiting = waiting > autoscaling.waitingClients * Math.max(1, loads.length) ? present + 1 : 0;
  const longest = Math.max(0, ...loads.map((load) => load.maxWaitSeconds));
  const byWait = longest * 1000 > (durationMs(autoscaling.maxWait) ?? 0) ? present + 1 : 0;
  const count = Math.max(1, byCpu, byWaiting, byWait);
  const reason =
    count === byWaiting
      ? `${waiting} clients wait`
      : count === byWait
        ? `a client waits for ${longest} s`
        : `instances use ${Math.round(cpu)} % of a core together`;
  return { count, reason };
}

function seconds(time: Date): string {
  return `${time.toISOString().slice(0, 19)}Z`;
}
