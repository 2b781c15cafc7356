import type { Clock } from '../../runtime/clock.ts';
import { pause } from '../../runtime/clock.ts';
import { budgetMs } from '../../sharding/move/decision.ts';
import type { MoveWorld } from '../../sharding/move/drive.ts';
import type { MoveView, Step } from '../../sharding/move/model.ts';
import { isDecided } from '../../sharding/move/next-step.ts';
import type { ShardMove } from './model.ts';
import { isCancelled } from './record.ts';

/** Annotation of a ShardMove: steps, separated by commas, before which it waits until the annotation is taken away. */
export const pauseAnnotation = 'herdsman.dev/pause-before';

/** How long a step is held before all is looked at anew: a bucket that is fenced must not wait for a person. */
const longestHoldMs = budgetMs;
const everyMs = 200;

const steps: Readonly<Record<Step['kind'], true>> = {
  stage: true,
  publish: true,
  'copy-rows': true,
  subscribe: true,
  'catch-up': true,
  index: true,
  verify: true,
  arm: true,
  announce: true,
  fence: true,
  drain: true,
  open: true,
  gate: true,
  decide: true,
  'commit-target': true,
  'commit-source': true,
  'clear-pending': true,
  'roll-back-source': true,
  'roll-back-target': true,
  disarm: true,
  unsubscribe: true,
  unstage: true,
  unpublish: true,
  settle: true,
  detach: true,
  retire: true,
  forget: true,
  'drop-retired': true,
};

/** What the annotation of a ShardMove says: steps to wait before, and words that name none. */
export function pausesOf({ metadata }: Pick<ShardMove, 'metadata'>): { steps: string[]; unknown: string[] } {
  const words = (metadata.annotations?.[pauseAnnotation] ?? '')
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '');
  return {
    steps: words.filter((word) => Object.hasOwn(steps, word)),
    unknown: words.filter((word) => !Object.hasOwn(steps, word)),
  };
}

/** What was held of a move so far by this process. */
export interface Held {
  /** How long writers were kept waiting. */
  writersMs: number;
  /** Steps behind the commit point. */
  readonly steps: Set<Step['kind']>;
}

/** Of a move that was not held. */
export function nothingHeld(): Held {
  return { writersMs: 0, steps: new Set() };
}

/** What holding a step needs. */
export interface HoldOptions {
  readonly clock: Clock;
  /** Aborts when this process leads no more: the step is no longer held then, since nobody may rely on it. */
  readonly signal: AbortSignal;
  readonly held: Held;
  /** The ShardMove as it is now. */
  read(): Promise<ShardMove | undefined>;
  /** Tells that a step is held. */
  tell(shardMove: ShardMove, reason: string, message: string): Promise<unknown>;
}

/**
 * Holds the steps that the annotation names: for drills, and for who wants to see everything before writers are kept out. Writers are
 * kept waiting for as long as an attempt may take, in all; then the move waits before its next fence. Behind the commit point a step
 * is held once.
 */
export function createHold(shardMove: ShardMove, options: HoldOptions): NonNullable<MoveWorld['hold']> {
  const { clock, signal, held, read, tell } = options;
  return async (step, view) => {
    const isBehind = isBehindCommit(view);
    const isWaitedFor = doWritersWait(view);
    const isSpent = held.writersMs >= longestHoldMs;
    const isHeld = (object: ShardMove | undefined): object is ShardMove => {
      const named = object === undefined ? [] : pausesOf(object).steps;
      return named.includes(step.kind) || (isSpent && step.kind === 'fence' && named.length > 0);
    };
    if (!isHeld(shardMove)) return 'go-on';
    if (isWaitedFor && isSpent) return 'go-on';
    // What a failover has lost is made anew at once: no writer is safe before.
    if (isBehind && (held.steps.has(step.kind) || step.kind === 'fence' || step.kind === 'open'))
      return 'go-on';
    const began = clock.monotonicMs();
    const until = began + longestHoldMs - (isWaitedFor ? held.writersMs : 0);
    try {
      while (!signal.aborted) {
        const latest = await read();
        if (!isHeld(latest)) return 'go-on';
        // There is no way back behind the commit point.
        if (!isBehind && isCancelled(latest) && !isCancelled(shardMove)) return 'look-again';
        if (clock.monotonicMs() >= until) return 'look-again';
        await tell(latest, 'Paused', `before ${step.kind}`);
        await pause(clock, everyMs, signal);
      }
      return 'go-on';
    } finally {
      if (isWaitedFor) held.writersMs += clock.monotonicMs() - began;
      if (isBehind) held.steps.add(step.kind);
    }
  };
}

function isBehindCommit(view: MoveView): boolean {
  const { map, record } = view;
  if (record.phase === 'finish' || record.phase === 'retain') return true;
  return map !== 'unknown' && isDecided(view, map);
}

/** Whether the source's bucket is fenced, or may be. */
function doWritersWait({ source }: MoveView): boolean {
  return source === 'unknown' || source.prepared.length > 0;
}
