import { durationMs } from '../../api/v1alpha1/duration.ts';
import type { ReadReplicaSetSpec, ReadReplicaSetStatus } from '../../api/v1alpha1/read-replica-set.ts';
import type { Brake } from './steps/brake.ts';

/** `spec.autoscaling` with its defaults filled in. */
export type AutoscalingSpec = NonNullable<ReadReplicaSetSpec['autoscaling']>;
/** `status.autoscaling`. */
export type AutoscalingStatus = NonNullable<ReadReplicaSetStatus['autoscaling']>;
/** What is measured. */
export type MetricType = AutoscalingSpec['metrics'][number]['type'];

/** What a decision is made from. */
export interface AutoscaleInput {
  readonly spec: AutoscalingSpec;
  /** Members per shard that are wanted now. */
  readonly current: number;
  /** Members per shard over which the load is spread. */
  readonly ready: number;
  /** Average per member; a text says why it is not known. */
  readonly measured: ReadonlyMap<MetricType, number | string>;
  /** Why no step up or down may be made now: a copy is under way, members are late, … */
  readonly brake: Brake;
  /** The last decision, from the status. */
  readonly last: Pick<AutoscalingStatus, 'lastScaleTime' | 'quietSince'> | undefined;
  readonly now: Date;
}

/** Between so much less and so much more than the target nothing is changed. */
const tolerance = 0.1;

/**
 * Each metric asks for ceil(ready × measured / target) members, and the largest wins. One step at a time: up at most once in
 * a window, down only after a long quiet time; never while a brake holds or a metric is not known, but always into the bounds.
 */
export function autoscale(input: AutoscaleInput): AutoscalingStatus {
  const { spec, current, measured, brake, now } = input;
  const last = notAfter(input.last, now);
  const metrics = spec.metrics.map(({ type, target }) => metricOf(input, type, target, measured.get(type)));
  const proposals = metrics.flatMap(({ proposed }) => proposed ?? []);
  const isKnown = proposals.length === metrics.length;
  const proposed = proposals.length === 0 ? undefined : clamp(Math.max(...proposals), spec);
  const isQuiet = isKnown && proposed !== undefined && proposed < current;
  const quietSince = isQuiet ? (last?.quietSince ?? seconds(now)) : undefined;
  const chosen = metrics.find((metric) => metric.proposed !== undefined && metric.proposed === proposed);
  const common = {
    metrics,
    ...(proposed === undefined ? {} : { proposed }),
    ...(chosen === undefined ? {} : { chosen: chosen.type }),
  };
  const since = last?.lastScaleTime;
  const keep = (message: string, heldBy?: string): AutoscalingStatus => ({
    ...common,
    desired: current,
    ...(heldBy === undefined ? {} : { heldBy }),
    message,
    ...(since === undefined ? {} : { lastScaleTime: since }),
    ...(quietSince === undefined ? {} : { quietSince }),
  });
  const change = (desired: number, message: string): AutoscalingStatus => ({
    ...common,
    desired,
    message,
    lastScaleTime: seconds(now),
  });

  const bounded = clamp(current, spec);
  if (bounded !== current) {
    return change(bounded, `${current} is outside of ${spec.minReplicas} to ${spec.maxReplicas} members`);
  }
  if (proposed === undefined || !isKnown) {
    const missing = metrics.filter((metric) => metric.proposed === undefined).map(({ type }) => type);
    return keep(
      `${current} members: nothing is changed without a metric`,
      `no measure of ${missing.join(', ')}`,
    );
  }
  if (proposed === current) return keep(`${current} members are what the load asks for`);
  const asks = `${chosen?.type ?? 'the load'} (${chosen?.measured} of ${chosen?.target}) asks for ${proposed} members, there are ${current}`;
  const held = proposed > current ? brake.up : brake.down;
  if (held !== undefined) return keep(asks, held);
  const sinceScaleMs = since === undefined ? Number.POSITIVE_INFINITY : now.getTime() - Date.parse(since);
  const { scaleUpWindow, scaleDownWindow, quietBeforeScaleDown } = spec.behavior;
  if (proposed > current) {
    if (sinceScaleMs < windowMs(scaleUpWindow))
      return keep(asks, `the last change was less than ${scaleUpWindow} ago`);
    return change(current + 1, asks);
  }
  // Down is held by both windows: a change of direction within the shorter would be flapping.
  const downMs = Math.max(windowMs(scaleDownWindow), windowMs(scaleUpWindow));
  if (sinceScaleMs < downMs) return keep(asks, `the last change was less than ${scaleDownWindow} ago`);
  const quietMs = quietSince === undefined ? 0 : now.getTime() - Date.parse(quietSince);
  if (quietMs < windowMs(quietBeforeScaleDown))
    return keep(asks, `the load has been low for less than ${quietBeforeScaleDown}`);
  return { ...change(current - 1, asks), ...(quietSince === undefined ? {} : { quietSince }) };
}

/** Two clocks of one machine may be apart by less. */
const driftMs = 1_000;

/** The times of a decision as a clock has them that was set by so much since, forward or back: no window is over sooner by that. */
export function withClockSet<T extends Partial<Pick<AutoscalingStatus, 'lastScaleTime' | 'quietSince'>>>(
  decision: T,
  byMs: number,
): T {
  if (Math.abs(byMs) < driftMs) return decision;
  const { lastScaleTime, quietSince } = decision;
  const moved = (time: string) => seconds(new Date(Date.parse(time) + byMs));
  return {
    ...decision,
    ...(lastScaleTime === undefined ? {} : { lastScaleTime: moved(lastScaleTime) }),
    ...(quietSince === undefined ? {} : { quietSince: moved(quietSince) }),
  };
}

/** What a clock that was set back since says to come is taken to be only just: it would hold everything until then. */
function notAfter(last: AutoscaleInput['last'], now: Date): AutoscaleInput['last'] {
  const past = (time: string | undefined) =>
    time !== undefined && Date.parse(time) > now.getTime() ? seconds(now) : time;
  return { lastScaleTime: past(last?.lastScaleTime), quietSince: past(last?.quietSince) };
}

function metricOf(
  { ready, current, spec }: AutoscaleInput,
  type: MetricType,
  target: number,
  measured: number | string | undefined,
): AutoscalingStatus['metrics'][number] {
  if (typeof measured !== 'number')
    return { type, target, message: measured ?? 'it has not been measured yet' };
  const ratio = measured / target;
  const isNear = Math.abs(ratio - 1) <= tolerance;
  const proposed = clamp(isNear ? current : Math.ceil(ready * ratio - 1e-9), spec);
  return { type, target, measured: Number(measured.toPrecision(2)), proposed };
}

/** Every metric with its numbers, in words. */
export function describeMetrics(metrics: AutoscalingStatus['metrics']): string {
  return metrics
    .map(({ type, measured, target, proposed, message }) =>
      measured === undefined
        ? `${type} of ${target}: ${message}`
        : `${type} ${measured} of ${target} asks for ${proposed}`,
    )
    .join('; ');
}

function clamp(count: number, { minReplicas, maxReplicas }: AutoscalingSpec): number {
  return Math.min(Math.max(count, minReplicas), maxReplicas);
}

function windowMs(duration: string): number {
  return durationMs(duration) ?? 0;
}

function seconds(time: Date): string {
  return `${time.toISOString().slice(0, 19)}Z`;
}
