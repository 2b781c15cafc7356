import type { ShardMapSpec } from '../../api/v1alpha1/shard-map.ts';
import { advance } from './advance.ts';
import { end } from './decision.ts';
import { changeMap, mapBucket } from './map-change.ts';
import type {
  Decision,
  Ending,
  Known,
  MapBucket,
  Move,
  MoveRecord,
  MoveView,
  Obstacle,
  Rival,
  ShardFacts,
  Step,
  StepResult,
} from './model.ts';
import { nextStep } from './next-step.ts';
import { afterFenceRefused } from './switch.ts';

/** A value with the version that a change of it needs. */
export interface Versioned<T> {
  readonly version: string;
  readonly value: T;
}

/** Something that is changed by compare-and-swap only; an exception says that it is not known what happened. */
export interface Store<T> {
  read(): Promise<Versioned<T>>;
  /** What was read or written last, as far as that is remembered. */
  latest?(): Versioned<T> | undefined;
  /** Writes when the version still holds; answers the new version. */
  replace(version: string, value: T): Promise<{ readonly version: string } | 'conflict'>;
}

/** What a move works on. Every function that throws leaves unknown what happened. */
export interface MoveWorld {
  readonly map: Store<ShardMapSpec>;
  readonly record: Store<MoveRecord>;
  observe(side: 'source' | 'target', move: Move): Promise<ShardFacts>;
  obstacles(move: Move): Promise<readonly Obstacle[]>;
  /** The first of the moves that passed their preflight before now and take part in a shard of this one. */
  rival(move: Move): Promise<Rival | 'none'>;
  /** Does a step on the shards. */
  perform(move: Move, step: ShardStep, view: MoveView): Promise<StepResult>;
  now(): number;
  /** Keeps a step waiting that was decided on, as long as somebody wants it to; `look-again` when it shall be decided anew. */
  hold?(step: Step, view: MoveView): Promise<'go-on' | 'look-again'>;
  /** Told of every step that was tried, and of what was seen before it. */
  onStep?(step: Step, result: StepResult | 'unknown', tookMs: number, view: MoveView): void;
}

/** The steps that are done on shards. */
export type ShardStep = Exclude<Step, { kind: 'announce' | 'decide' | 'clear-pending' }>;

/** How a pass ended, and when to come again. */
export interface PassReport {
  readonly view: MoveView;
  readonly ended: boolean;
  readonly reason: string;
  readonly message: string;
  readonly afterMs: number;
}

/** Most decisions of one pass; the switch needs about ten. */
const maxDecisions = 32;
/** Tries of a change of the map that others keep changing elsewhere. */
const maxSwaps = 8;

/** A pass under way: the view, and the versions that it was read at. */
interface Pass {
  readonly world: MoveWorld;
  readonly move: Move;
  view: MoveView;
  mapVersion: string;
  recordVersion: string;
  /** Why something is not known. */
  readonly why: readonly string[];
}

/**
 * One pass: look at everything, decide, do one step and come again; but from the fence to the commit one step after the other,
 * since writers wait. The order of looking matters: shards, then map, then record. A prepared transaction that is seen
 * was announced before the map is read; an attempt that is announced has a record that is read after the map.
 */
export async function drive(world: MoveWorld, move: Move): Promise<PassReport> {
  const pass = await observe(world, move);
  for (let count = 0; count < maxDecisions; count += 1) {
    const decision = nextStep(pass.view);
    const report = await carryOut(pass, decision);
    if (report !== undefined) return report;
  }
  return again(pass, 'Working', 'going on');
}

async function observe(world: MoveWorld, move: Move): Promise<Pass> {
  const why: string[] = [];
  const [source, target] = await Promise.all([
    known(world.observe('source', move), why),
    known(world.observe('target', move), why),
  ]);
  const map = await known(world.map.read(), why);
  const record = await world.record.read();
  const { phase, ending } = record.value;
  const isFirst = phase === 'preflight' && ending === undefined && !move.cancel;
  const obstacles = isFirst ? await known(world.obstacles(move), why) : 'unknown';
  const rival = phase === 'prepare' ? await known(world.rival(move), why) : 'unknown';
  const bucket = map === 'unknown' ? 'unknown' : missingIsGone(mapBucket(map.value, move));
  return {
    world,
    move,
    view: { move, record: record.value, map: bucket, source, target, obstacles, rival, now: world.now() },
    mapVersion: map === 'unknown' ? '' : map.version,
    recordVersion: record.version,
    why,
  };
}

/** A bucket that is not in the map has no owner: nothing can be moved. */
function missingIsGone(bucket: MapBucket | undefined): MapBucket {
  return bucket ?? { owner: 'nobody', epoch: 0, mapEpoch: 0 };
}

async function known<T>(promise: Promise<T>, why: string[] = []): Promise<Known<T>> {
  try {
    return await promise;
  } catch (error) {
    why.push(error instanceof Error ? error.message : String(error));
    return 'unknown';
  }
}

async function carryOut(pass: Pass, decision: Decision): Promise<PassReport | undefined> {
  switch (decision.kind) {
    case 'wait':
      return {
        ...again(pass, decision.reason, [decision.message, ...new Set(pass.why)].join(': ')),
        afterMs: decision.afterMs,
      };
    case 'ended':
      return { ...again(pass, 'Ended', ''), ended: true };
    case 'record': {
      if (!(await write(pass, decision.record))) return again(pass, 'Conflict', 'reading again');
      const { pause } = decision;
      return pause && { ...again(pass, pause.reason, pause.message), afterMs: pause.afterMs };
    }
    case 'act':
      return act(pass, decision);
  }
}

async function act(
  pass: Pass,
  decision: Extract<Decision, { kind: 'act' }>,
): Promise<PassReport | undefined> {
  const { world, move, view } = pass;
  const { step } = decision;
  let began = world.now();
  let result: StepResult | 'unknown';
  let message = '';
  try {
    const isStale = step.kind === 'fence' && !(await isStillAnnounced(pass));
    if ((await world.hold?.(step, view)) === 'look-again')
      return again(pass, 'Paused', `before ${step.kind}`);
    began = world.now();
    if (isMapStep(step)) result = await swap(pass, step);
    else if (isStale) result = mapChanged;
    else result = await world.perform(move, step, view);
  } catch (error) {
    result = 'unknown';
    message = error instanceof Error ? error.message : String(error);
  }
  world.onStep?.(step, result, world.now() - began, view);
  if (result === 'unknown') return { ...again(pass, 'Unknown', `${step.kind}: ${message}`), afterMs: 200 };
  if (result.kind === 'refused') return refused(pass, step, result);
  if (decision.record !== undefined) {
    await write(pass, decision.record);
    return again(pass, 'Working', step.kind);
  }
  const next = advance(pass.view, step, world.now());
  if (next === undefined) return again(pass, 'Working', step.kind);
  pass.view = next;
  return undefined;
}

async function refused(
  pass: Pass,
  step: Step,
  result: Extract<StepResult, { kind: 'refused' }>,
): Promise<PassReport> {
  const { reason, message, ends } = result;
  const { record } = pass.view;
  const ending = (next: Ending['next']) => end(pass.view, next, reason, message).record;
  if (ends !== undefined) {
    await conclude(pass, ending(ends));
    return again(pass, reason, message);
  }
  // Nobody counts beyond the commit point.
  if (step.kind === 'fence' && result !== mapChanged && record.ending === undefined) {
    const next = reason === 'Locked' ? afterFenceRefused(record, pass.world.now()) : ending('switch');
    await write(pass, next);
    return again(pass, reason, message);
  }
  if (step.kind === 'open' && isLasting(reason) && isUndecided(pass.view)) {
    // The leaves do not fit any more, as after a migration: only another copy helps, and writers wait.
    await write(pass, ending('copy'));
    return again(pass, reason, message);
  }
  if (record.phase === 'switch') return { ...again(pass, reason, message), afterMs: 50 };
  // What is not a matter of time is shown, and tried again without haste.
  return { ...again(pass, reason, message), afterMs: isLasting(reason) ? 5_000 : 500 };
}

/** Whether a refusal is no matter of a moment. */
function isLasting(reason: string): boolean {
  return reason === 'Refused' || reason === 'DiskFull';
}

function isUndecided({ map, move }: MoveView): boolean {
  return map !== 'unknown' && map.owner === move.from;
}

function isMapStep(step: Step): step is Exclude<Step, ShardStep> {
  return step.kind === 'announce' || step.kind === 'decide' || step.kind === 'clear-pending';
}

/**
 * Changes the map. An announcement needs the very version that was read before the record, or it could revive an attempt
 * whose end has been recorded; the others need only that `pending` is theirs.
 */
async function swap(pass: Pass, step: Exclude<Step, ShardStep>): Promise<StepResult> {
  const { world, move } = pass;
  // Writers wait for the decision: it is tried on what was read before the fence, and read again only if that has changed.
  const remembered = step.kind === 'decide' ? world.map.latest?.() : undefined;
  if (remembered !== undefined) {
    const changed = changeMap(remembered.value, move, step);
    const answer = changed && (await world.map.replace(remembered.version, changed));
    if (answer !== undefined && answer !== 'conflict') return { kind: 'done' };
  }
  for (let count = 0; count < maxSwaps; count += 1) {
    const reading = await world.map.read();
    if (step.kind === 'announce' && reading.version !== pass.mapVersion) break;
    const changed = changeMap(reading.value, move, step);
    if (changed === undefined) break;
    const answer = await world.map.replace(reading.version, changed);
    if (answer !== 'conflict') return { kind: 'done' };
  }
  return mapChanged;
}

const mapChanged: StepResult = {
  kind: 'refused',
  reason: 'MapChanged',
  message: 'the ShardMap was changed by somebody else',
};

/** Reads the map again before writers are made to wait. Once the map has decided, a lost fence is made anew. */
async function isStillAnnounced({ world, move, view }: Pass): Promise<boolean> {
  const bucket = mapBucket((await world.map.read()).value, move);
  if (bucket?.owner === move.to) return true;
  return bucket?.pending?.move === move.key && bucket.pending.attempt === view.record.attempt;
}

async function write(pass: Pass, record: MoveRecord): Promise<boolean> {
  const answer = await known(pass.world.record.replace(pass.recordVersion, record));
  if (answer === 'unknown' || answer === 'conflict') return false;
  pass.recordVersion = answer.version;
  pass.view = { ...pass.view, record };
  return true;
}

/**
 * Records how a step ended that is not tried again. What is told meanwhile, as of the progress of a copy, is kept with the record:
 * that it has changed says nothing against writing a record that has not.
 */
async function conclude(pass: Pass, record: MoveRecord): Promise<void> {
  if (await write(pass, record)) return;
  const latest = await known(pass.world.record.read());
  if (latest === 'unknown' || JSON.stringify(latest.value) !== JSON.stringify(pass.view.record)) return;
  pass.recordVersion = latest.version;
  await write(pass, record);
}

function again(pass: Pass, reason: string, message: string): PassReport {
  return { view: pass.view, ended: false, reason, message, afterMs: 0 };
}
