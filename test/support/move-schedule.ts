import { budgetMs } from '../../src/sharding/move/decision.ts';
import { drive, type MoveWorld } from '../../src/sharding/move/drive.ts';
import { Model, type Operation } from './move-model.ts';

/** One thing that happens in a history. */
export type Happening =
  /** An operator goes on by some atomic effects. */
  | { readonly kind: 'run'; readonly operator: number; readonly turns: number }
  /** It ends, and another begins in its place with nothing in mind. */
  | { readonly kind: 'crash'; readonly operator: number }
  | { readonly kind: 'write' | 'replicate' | 'flush' | 'busy' | 'hold' | 'cancel' | 'pause' | 'lose-slot' }
  | { readonly kind: 'fail-over'; readonly side: 'source' | 'target'; readonly losesSlots: boolean }
  /** The next answer to an operator gets lost; what it asked for is done. */
  | { readonly kind: 'lose-answer'; readonly operator: number };

/** Changes how operators reach the world: how a broken rule is put in. */
export type Mutation = (world: MoveWorld, model: Model) => MoveWorld;

interface Operator {
  /** Each lets one effect happen that the operator has asked for. */
  readonly asked: (() => void)[];
  wakes: number;
  losesAnswer: boolean;
  dead: boolean;
}

/** When an operator looks again at a move that has ended (ms). */
const restMs = 600_000;
/** How long after the budget everybody may take to take an attempt back, while all is up. */
const slackMs = 2_000;
/** Most effects that the end of a history may need. */
const patience = 3_000;

/** Plays a history with two operators and answers what was wrong with it; nothing: the laws held. */
export async function play(
  happenings: readonly Happening[],
  mutation: Mutation = (world) => world,
  operation: Operation = 'move',
): Promise<string | undefined> {
  const model = new Model(operation);
  const operators = [start(model, mutation), start(model, mutation)];
  let problem: string | undefined;
  const check = () => {
    const accepting = model.accepting();
    if (accepting.length > 1) problem ??= `two shards accept writes: ${accepting.join(', ')}`;
  };
  const run = async (index: number) => {
    const operator = operators[index];
    if (operator === undefined) return;
    wake(operators, model);
    await settle();
    const go = operator.asked.shift();
    if (go === undefined) return;
    model.now += 5;
    go();
    await settle();
    check();
  };
  for (const happening of happenings) {
    switch (happening.kind) {
      case 'run':
        for (let turn = 0; turn < happening.turns; turn += 1) await run(happening.operator);
        break;
      case 'crash': {
        const operator = operators[happening.operator];
        if (operator !== undefined) operator.dead = true;
        operators[happening.operator] = start(model, mutation);
        break;
      }
      case 'write':
        model.write();
        break;
      case 'replicate':
        model.replicate();
        break;
      case 'flush':
        model.flush();
        break;
      case 'busy':
        model.busy = !model.busy;
        break;
      case 'hold':
        model.held = !model.held;
        break;
      case 'cancel':
        model.move = { ...model.move, cancel: true };
        break;
      case 'pause':
        model.now += 6_000;
        wake(operators, model);
        break;
      case 'lose-slot':
        model.source.state.slots = [];
        model.source.flush();
        break;
      case 'fail-over':
        model[happening.side].failOver(happening.losesSlots);
        break;
      case 'lose-answer': {
        const operator = operators[happening.operator];
        if (operator !== undefined) operator.losesAnswer = true;
      }
    }
    check();
    if (problem !== undefined) break;
  }
  if (problem === undefined) problem = await conclude(model, operators, run, () => problem);
  for (const operator of operators) operator.dead = true;
  return problem;
}

/** Everything is up again: the move has to come to an end, in bounded time, with nothing left behind. */
async function conclude(
  model: Model,
  operators: readonly Operator[],
  run: (index: number) => Promise<void>,
  problem: () => string | undefined,
): Promise<string | undefined> {
  model.busy = false;
  model.held = false;
  let takenAt = model.now;
  for (let count = 0; count < patience; count += 1) {
    await run(count % operators.length);
    model.replicate();
    if (count % 7 === 0) model.flush();
    if (problem() !== undefined) return problem();
    if (model.accepting('fewest').length > 0) takenAt = model.now;
    if (model.now - takenAt > budgetMs + slackMs)
      return `nobody has accepted writes for ${model.now - takenAt} ms`;
    if (operators.every(({ asked, wakes }) => asked.length === 0 && wakes > model.now)) {
      const next = Math.min(...operators.map(({ wakes }) => wakes));
      // Both have seen the end.
      if (next - model.now > restMs / 2) break;
      model.now = next;
      wake(operators, model);
    }
  }
  return judge(model);
}

function judge(model: Model): string | undefined {
  const { source, target } = model;
  const phase = model.record.at(-1)?.value.phase ?? '';
  if (!['done', 'failed', 'cancelled'].includes(phase)) return `it does not end: ${phase}`;
  const owner = model.bucket?.shard ?? '';
  if (owner !== (phase === 'done' ? 's1' : 's0')) return `${phase}, and ${owner} is the owner`;
  const accepting = model.accepting();
  if (accepting.join() !== owner || model.accepting('fewest').join() !== owner)
    return `${owner} is the owner, and "${accepting.join()}" accepts writes`;
  const wantedIds = model.move[phase === 'done' ? 'children' : 'parents'].map(({ id }) => id).join();
  const ids = model.buckets.map(({ id }) => id).join();
  if (ids !== wantedIds || model.buckets.some(({ shard }) => shard !== owner))
    return `the map has ${ids}, wanted ${wantedIds}`;
  const rows = (owner === 's0' ? source : target).state.rows;
  const lost = model.acknowledged.filter((row) => !rows.includes(row));
  if (lost.length > 0) return `lost: ${lost.join(', ')}`;
  if (new Set(rows).size !== rows.length) return `doubled: ${rows.join(', ')}`;
  if (model.buckets.some(({ pending }) => pending !== undefined)) return 'pending is left in the map';
  for (const [name, { state }] of Object.entries({ source, target })) {
    const left = [
      ...state.prepared.map(({ gid }) => gid),
      ...[...state.publications, ...state.roles],
      ...[...state.slots, ...state.subscriptions].map((thing) => thing.name),
      ...(state.guard === undefined ? [] : ['guard']),
      ...(state.retired ? ['retired'] : []),
      ...(state.unsettled && state.leaves === 'attached' ? ['unsettled'] : []),
    ];
    if (left.length > 0) return `left on the ${name}: ${left.join(', ')}`;
    const wanted = (name === 'source') === (owner === 's0') ? 'attached' : 'absent';
    if (state.leaves !== wanted) return `the leaves of the ${name} are ${state.leaves}`;
  }
  return undefined;
}

function start(model: Model, mutation: Mutation): Operator {
  const operator: Operator = { asked: [], wakes: 0, losesAnswer: false, dead: false };
  const turn = () =>
    new Promise<void>((resolve) => {
      // A dead operator's promises stay open for ever.
      operator.asked.push(resolve);
    });
  const loses = () => {
    const loses = operator.losesAnswer;
    operator.losesAnswer = false;
    return loses;
  };
  const world = mutation(model.worldOf(turn, loses), model);
  const work = async () => {
    while (!operator.dead) {
      try {
        const report = await drive(world, model.move);
        operator.wakes = model.now + (report.ended ? restMs : report.afterMs);
      } catch {
        operator.wakes = model.now + 100;
      }
      while (operator.wakes > model.now && !operator.dead) {
        await new Promise<void>((resolve) => sleepers.set(operator, resolve));
      }
    }
  };
  void work();
  return operator;
}

const sleepers = new WeakMap<Operator, () => void>();

function wake(operators: readonly Operator[], model: Model): void {
  for (const operator of operators) {
    if (operator.wakes > model.now) continue;
    sleepers.get(operator)?.();
    sleepers.delete(operator);
  }
}

/** Lets everything run that needs no turn. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
