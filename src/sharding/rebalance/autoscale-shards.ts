/** What a number of shards can be judged by. */
export type ShardMetric = 'CPU' | 'Connections' | 'TPS' | 'Size';

/** One metric on every shard. */
export interface MetricReading {
  readonly type: ShardMetric;
  /** What one shard shall have at most, in the metric's own unit. */
  readonly target: number;
  /** By shard; a shard that did not answer is left out. */
  readonly values: ReadonlyMap<string, number>;
  /** The largest part of the whole that one shard has when the best plan is carried out; at least 1/n. */
  readonly peakShareAfter: number;
  /** The same with one more shard, when the best plan for that is carried out. */
  readonly peakShareWithMore: number;
}

/** What the user chose. */
export interface AutoscaleSettings {
  readonly minShards: number;
  readonly maxShards: number;
  /** How long a shard must be over its target before one is added. */
  readonly outStabilisationMs: number;
  /** How long all must be quiet before one is taken away. */
  readonly inStabilisationMs: number;
  readonly dryRun: boolean;
}

/** What is remembered from pass to pass. */
export interface AutoscaleState {
  /** `spec.shards.count` that the decision started from: another one starts it anew. */
  readonly base: number;
  readonly desired: number;
  readonly overSinceMs?: number;
  readonly quietSinceMs?: number;
  readonly changedAtMs?: number;
}

/** What a decision is made from. */
export interface AutoscaleInput {
  /** `spec.shards.count`. */
  readonly count: number;
  /** Shards that must be answered for. */
  readonly shards: readonly string[];
  /** The one that goes next, if one has to, and why that. */
  readonly emptiest?: { readonly name: string; readonly why: string } | undefined;
  readonly metrics: readonly MetricReading[];
  readonly settings: AutoscaleSettings;
  readonly state: AutoscaleState | undefined;
  /** Whether every shard is ready, nothing moves and nothing is left to move. */
  readonly isSettled: boolean;
  readonly nowMs: number;
}

/** A metric as the decision saw it. */
export interface JudgedMetric {
  readonly type: ShardMetric;
  readonly target: number;
  /** On the shard that has most. */
  readonly peak?: number;
  /** The same when the best plan is carried out. */
  readonly peakAfter?: number;
  /** The same with one shard more. */
  readonly peakWithMore?: number;
  /** The same with one shard fewer. */
  readonly peakWithFewer?: number;
}

/** How many shards there shall be, and why. */
export interface AutoscaleDecision {
  /** Number that is acted on. */
  readonly desired: number;
  /** Number that the metrics ask for; differs from `desired` only in a dry run. */
  readonly recommended: number;
  readonly reason:
    | 'FollowsSpec'
    | 'MetricsMissing'
    | 'AboveTarget'
    | 'OneBucketTooHot'
    | 'BelowTarget'
    | 'Stabilising'
    | 'AtMaximum'
    | 'AtMinimum'
    | 'WithinTarget';
  readonly message: string;
  readonly metrics: readonly JudgedMetric[];
  readonly state: AutoscaleState;
}

/** With one shard fewer, the fullest may have this part of its target, so that it does not come back at once. */
const inTolerance = 0.8;
/** One shard more must take this part off the fullest, else what is too hot is one bucket, which no shard can help. */
const leastRelief = 0.05;

/**
 * Decides the number of shards. One more when, for the stabilisation time, even the best plan leaves a shard over a target;
 * one fewer after a long time in which all targets would have held with one fewer; neither while a metric is missing.
 */
export function decideShards(input: AutoscaleInput): AutoscaleDecision {
  const { count, settings, state, nowMs } = input;
  const metrics = input.metrics.map((metric) => judge(metric, input.shards));
  const limits = `within ${settings.minShards} to ${settings.maxShards}`;
  if (state === undefined || state.base !== count) {
    // Without a memory, shards that are there already stay: what was decided before may have made them.
    const start = state === undefined ? Math.max(count, input.shards.length) : count;
    const message = `the number of shards starts from spec.shards.count (${count}), ${limits}`;
    return follow(start, message, metrics, count, settings);
  }
  if (within(state.desired, settings) !== state.desired) {
    const message = `the number of shards is held ${limits}`;
    return follow(state.desired, message, metrics, count, settings);
  }
  const missing = input.metrics.find((metric) => input.shards.some((shard) => !metric.values.has(shard)));
  if (missing !== undefined || metrics.length === 0) {
    const silent = input.shards.filter((shard) => missing !== undefined && !missing.values.has(shard));
    const message = `${missing?.type ?? 'every metric'} is missing${silent.length === 0 ? '' : ` for shard ${silent.join(', ')}`}: nothing is changed`;
    // What is unknown is not quiet; that a shard was over its target stays known.
    return hold('MetricsMissing', message, metrics, without(state, 'quietSinceMs'));
  }
  const over = metrics.find((metric) => (metric.peakAfter ?? 0) > metric.target);
  if (over !== undefined) return decideOut(over, metrics, state, settings, nowMs);
  const isQuiet =
    input.isSettled &&
    metrics.every((metric) => (metric.peakWithFewer ?? Infinity) <= inTolerance * metric.target);
  const calm = without(state, 'overSinceMs');
  if (isQuiet) return decideIn(input, metrics, calm);
  return hold('WithinTarget', 'every shard is within its targets', metrics, without(calm, 'quietSinceMs'));
}

function decideOut(
  over: JudgedMetric,
  metrics: readonly JudgedMetric[],
  before: AutoscaleState,
  settings: AutoscaleSettings,
  nowMs: number,
): AutoscaleDecision {
  const state = { ...without(before, 'quietSinceMs'), overSinceMs: before.overSinceMs ?? nowMs };
  const current = state.desired;
  const why =
    `${over.type} of the fullest shard would be ${text(over.peakAfter)} after the best plan, ` +
    `over its target of ${text(over.target)}`;
  if (current >= settings.maxShards) {
    return hold('AtMaximum', `${why}; maxShards (${settings.maxShards}) is reached`, metrics, state);
  }
  if ((over.peakWithMore ?? 0) > (1 - leastRelief) * (over.peakAfter ?? 0)) {
    return hold(
      'OneBucketTooHot',
      `${why}; another shard would not help one bucket: split it`,
      metrics,
      state,
    );
  }
  const dueMs = state.overSinceMs + settings.outStabilisationMs;
  if (nowMs < dueMs) {
    return hold(
      'Stabilising',
      `${why}; a shard is added if it stays so until ${timeOf(dueMs)}`,
      metrics,
      state,
    );
  }
  return change(current + 1, 'AboveTarget', `${why}: one more shard`, metrics, state, settings, nowMs);
}

function decideIn(
  { settings, emptiest, nowMs }: AutoscaleInput,
  metrics: readonly JudgedMetric[],
  before: AutoscaleState,
): AutoscaleDecision {
  const state = { ...before, quietSinceMs: before.quietSinceMs ?? nowMs };
  const current = state.desired;
  const why = `with ${current - 1} shards every target would hold`;
  const one = emptiest === undefined ? 'one' : `shard ${emptiest.name}`;
  const because = emptiest === undefined ? '' : `, for ${emptiest.why}`;
  if (current <= settings.minShards || current <= 1) {
    return hold(
      'AtMinimum',
      `minShards (${settings.minShards}) is reached, and every target holds`,
      metrics,
      state,
    );
  }
  const dueMs = state.quietSinceMs + settings.inStabilisationMs;
  if (nowMs < dueMs) {
    return hold(
      'Stabilising',
      `${why}; ${one} is taken away if it stays so until ${timeOf(dueMs)}${because}`,
      metrics,
      state,
    );
  }
  return change(
    current - 1,
    'BelowTarget',
    `${why}: ${one} is taken away${because}`,
    metrics,
    state,
    settings,
    nowMs,
  );
}

function change(
  desired: number,
  reason: AutoscaleDecision['reason'],
  message: string,
  metrics: readonly JudgedMetric[],
  state: AutoscaleState,
  settings: AutoscaleSettings,
  nowMs: number,
): AutoscaleDecision {
  if (settings.dryRun) {
    return propose(desired, reason, message, metrics, state);
  }
  // Both times begin anew, so that the next change waits as long.
  const changed = { base: state.base, desired, changedAtMs: nowMs };
  return { desired, recommended: desired, reason, message, metrics, state: changed };
}

function hold(
  reason: AutoscaleDecision['reason'],
  message: string,
  metrics: readonly JudgedMetric[],
  state: AutoscaleState,
): AutoscaleDecision {
  return { desired: state.desired, recommended: state.desired, reason, message, metrics, state };
}

function propose(
  recommended: number,
  reason: AutoscaleDecision['reason'],
  message: string,
  metrics: readonly JudgedMetric[],
  state: AutoscaleState,
): AutoscaleDecision {
  const told = `${message} (dry run: nothing is changed)`;
  return { desired: state.desired, recommended, reason, message: told, metrics, state };
}

function follow(
  shards: number,
  message: string,
  metrics: readonly JudgedMetric[],
  base: number,
  settings: AutoscaleSettings,
): AutoscaleDecision {
  const desired = within(shards, settings);
  if (settings.dryRun && desired !== shards)
    return propose(desired, 'FollowsSpec', message, metrics, { base, desired: shards });
  return hold('FollowsSpec', message, metrics, { base, desired });
}

function within(shards: number, { minShards, maxShards }: AutoscaleSettings): number {
  return Math.min(maxShards, Math.max(minShards, shards));
}

function judge(metric: MetricReading, shards: readonly string[]): JudgedMetric {
  const { type, target } = metric;
  const values = shards.flatMap((shard) => metric.values.get(shard) ?? []);
  if (values.length === 0 || values.length < shards.length) return { type, target };
  const total = values.reduce((sum, value) => sum + value, 0);
  // One shard cannot have less than its part, nor more than all.
  const share = Math.min(1, Math.max(1 / shards.length, metric.peakShareAfter));
  const skew = share * shards.length;
  return {
    type,
    target,
    peak: Math.max(...values),
    peakAfter: total * share,
    peakWithMore: total * Math.min(share, Math.max(1 / (shards.length + 1), metric.peakShareWithMore)),
    ...(shards.length < 2 ? {} : { peakWithFewer: (total * skew) / (shards.length - 1) }),
  };
}

function without<K extends 'overSinceMs' | 'quietSinceMs'>(state: AutoscaleState, key: K): AutoscaleState {
  const { [key]: _dropped, ...rest } = state;
  return rest as AutoscaleState;
}

function timeOf(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}

function text(value: number | undefined): string {
  return value === undefined ? 'unknown' : String(Number(value.toPrecision(3)));
}
