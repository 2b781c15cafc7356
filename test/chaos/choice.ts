import type { Step } from '../../src/sharding/move/model.ts';

/** Chooses `count` of the items by a seed: the same seed chooses the same, and every item has the same chance. */
export function choose<T>(items: readonly T[], count: number, seed: number): T[] {
  const random = numbersFrom(seed);
  return items
    .map((item) => ({ item, rank: random() }))
    .toSorted((a, b) => a.rank - b.rank)
    .slice(0, count)
    .map(({ item }) => item);
}

/** Numbers from 0 to 1 that look random and depend on the seed alone (mulberry32). */
function numbersFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

const { HERDSMAN_CHAOS: part = 'all', HERDSMAN_SEED: seedText = '1' } = process.env;

/** Whether the whole matrix is asked for, and not a part chosen by the seed. */
export const isWhole = part === 'all';

/** What the choice depends on. */
export const seed = Number(seedText);

/** Where a move is when something breaks. */
export interface MoveStop {
  /** Step of the protocol that is done or under way. */
  readonly protocol: string;
  /** What the operator was about to do. */
  readonly step: Step['kind'];
  /** Whether the map has changed: there is no way back. */
  readonly isDecided: boolean;
  /** The step is under way, not about to begin. */
  readonly isUnderWay?: boolean;
}

function stop(protocol: string, step: Step['kind'], isDecided = false): MoveStop {
  return { protocol, step, isDecided };
}

const aroundCommit = [
  stop('11, nothing committed', 'commit-target', true),
  stop('11, between the two COMMIT PREPARED', 'commit-source', true),
];

/** The steps of the protocol. */
const moveStops: readonly MoveStop[] = [
  stop('0, preflight', 'stage'),
  stop('1, prepare', 'publish'),
  { ...stop('2, copying', 'copy-rows'), isUnderWay: true },
  stop('2, copied', 'subscribe'),
  stop('3, catch up', 'catch-up'),
  stop('4, indexes', 'index'),
  stop('5, verify', 'verify'),
  stop('5, announce', 'announce'),
  stop('6, fence', 'fence'),
  stop('7, drain', 'drain'),
  stop('8, open', 'open'),
  stop('9, gate', 'gate'),
  stop('10, commit point', 'decide'),
  ...aroundCommit,
  stop('12, finish', 'detach', true),
];

/** A fault, and the step at which it finds a move. */
export interface MoveScenario<F> {
  readonly fault: F;
  readonly stop: MoveStop;
}

/** Every fault at every step. */
export function allMoveScenarios<F>(faults: readonly F[]): MoveScenario<F>[] {
  return faults.flatMap((fault) => moveStops.map((stop) => ({ fault, stop })));
}

/** Six of them: every fault, and always both places around the two COMMIT PREPARED. */
export function chooseMoveScenarios<F>(faults: readonly F[], seed: number): MoveScenario<F>[] {
  const others = moveStops.filter((candidate) => !aroundCommit.includes(candidate));
  const shuffled = choose(faults, faults.length, seed + 1);
  return [...aroundCommit, ...choose(others, 4, seed)].flatMap((stop, index) => {
    const fault = shuffled[index % shuffled.length];
    return fault === undefined ? [] : [{ fault, stop }];
  });
}
