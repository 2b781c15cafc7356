import type { BucketBound, ShardMapSpec } from '../../src/api/v1alpha1/shard-map.ts';
import type { MoveWorld, ShardStep, Store, Versioned } from '../../src/sharding/move/drive.ts';
import {
  firstRecord,
  type Guard,
  type Move,
  type MoveRecord,
  type MoveView,
  type ShardFacts,
  type StepResult,
} from '../../src/sharding/move/model.ts';
import { copyName, gidOf, parseGid } from '../../src/sharding/move/names.ts';

/** What is asked for in the model; nothing is verified, so that the protocol alone has to be right. */
const modelMove: Move = {
  key: 'move.0a0a0a0a',
  id: '0a0a0a0a',
  group: 'g',
  parents: [{ id: 0 }],
  children: [{ id: 0 }],
  from: 's0',
  to: 's1',
  verify: 'none',
  cancel: false,
  retentionMs: 1_000,
};

/** What comes of the buckets on their way. */
export type Operation = 'move' | 'split' | 'merge';

const whole = (id: number): BucketBound => ({ id, hash: { modulus: 1, remainder: 0 } });
const halves = [0, 1].map(
  (remainder): BucketBound => ({ id: remainder + 1, hash: { modulus: 2, remainder } }),
);

const buckets: Readonly<Record<Operation, Pick<Move, 'parents' | 'children'>>> = {
  move: { parents: [whole(0)], children: [whole(0)] },
  split: { parents: [whole(0)], children: halves },
  merge: { parents: halves, children: [whole(3)] },
};

interface Slot {
  name: string;
  position: number;
}

/** A shard's state that a failover may take back to what was flushed. */
interface ShardState {
  timeline: number;
  guard: Guard | undefined;
  prepared: { gid: string; since: number }[];
  markers: { id: number; epoch: number }[];
  leaves: ShardFacts['leaves'];
  retired: boolean;
  unsettled: boolean;
  publications: string[];
  roles: string[];
  slots: Slot[];
  subscriptions: { name: string; applied: number }[];
  /** Rows of the bucket's leaves, in the order of their arrival. */
  rows: number[];
}

/** A shard: what it shows, and what would survive a failover. */
export class ModelShard {
  state: ShardState;
  durable: ShardState;

  constructor(state: ShardState) {
    this.state = state;
    this.durable = structuredClone(state);
  }

  flush(): void {
    this.durable = structuredClone(this.state);
  }

  /** Another member takes over with what was flushed; its slot may not have been kept up. */
  failOver(losesSlots: boolean): void {
    const timeline = this.state.timeline + 1;
    this.state = { ...structuredClone(this.durable), timeline };
    if (losesSlots) this.state.slots = [];
    this.flush();
  }
}

const empty: ShardState = {
  timeline: 1,
  guard: undefined,
  prepared: [],
  markers: [],
  leaves: 'absent',
  retired: false,
  unsettled: false,
  publications: [],
  roles: [],
  slots: [],
  subscriptions: [],
  rows: [],
};

/** What a shard shows as the marker of a move. */
function newestOf({ markers }: ShardState): number | undefined {
  return markers.length === 0 ? undefined : Math.max(...markers.map(({ epoch }) => epoch));
}

const refuse = (reason: string): StepResult => ({ kind: 'refused', reason, message: reason });
const done: StepResult = { kind: 'done' };

function copyOf(name: string): number {
  return Number(name.split('_').at(-1));
}

function newer<T extends { readonly name: string }>(things: T[], copy: number): T[] {
  return things.filter(({ name }) => copyOf(name) > copy);
}

/** Steps that commit on one shard only. */
const onSource = new Set<ShardStep['kind']>([
  'publish',
  'fence',
  'drain',
  'commit-source',
  'roll-back-source',
  'unpublish',
  'detach',
  'retire',
  'drop-retired',
]);
const onTarget = new Set<ShardStep['kind']>([
  'subscribe',
  'verify',
  'open',
  'commit-target',
  'roll-back-target',
  'unstage',
]);

/** Two shards, a map and a record in memory, on which real operators' passes run, one atomic effect after the other. */
export class Model {
  now = 1_000;
  move: Move;
  /** A transaction of an application that holds the marker. */
  busy = false;
  /** Somebody has every step wait. */
  held = false;
  readonly source: ModelShard;
  readonly target = new ModelShard(structuredClone(empty));
  readonly map: Versioned<ShardMapSpec>[];
  readonly record: Versioned<MoveRecord>[] = [{ version: '1', value: firstRecord }];
  readonly acknowledged: number[] = [];
  #next = 1;

  constructor(operation: Operation = 'move') {
    this.move = { ...modelMove, ...buckets[operation] };
    // Each has an epoch of its own.
    const owned = this.move.parents.map((bucket, index) => ({ ...bucket, shard: 's0', epoch: index + 1 }));
    const markers = owned.map(({ id, epoch }) => ({ id, epoch }));
    this.source = new ModelShard({ ...structuredClone(empty), markers, leaves: 'attached' });
    const groups = [{ name: 'g', strategy: 'hash' as const, buckets: owned }];
    this.map = [{ version: '1', value: { cluster: 'c', epoch: owned.length, groups } }];
  }

  get buckets() {
    return this.map.at(-1)?.value.groups[0]?.buckets ?? [];
  }

  /** The first bucket of the map; what holds for one holds for all. */
  get bucket() {
    return this.buckets[0];
  }

  /** Standbys confirm all that there is. */
  flush(): void {
    this.source.flush();
    this.target.flush();
  }

  /** Shards that would accept a write of a key with proof of ownership: one for each bucket of theirs that takes it. */
  acceptingKey(key: number): string[] {
    const { source, target, move } = this;
    const fenced = source.state.prepared.some(({ gid }) => parseGid(gid)?.side === 'fence');
    const takes = ({ id }: { readonly id: number }) =>
      [...move.parents, ...move.children].some(
        (bucket) => bucket.id === id && key % (bucket.hash?.modulus ?? 1) === bucket.hash?.remainder,
      );
    return [
      ...(fenced ? [] : source.state.markers.filter(takes).map(() => 's0')),
      ...target.state.markers.filter(takes).map(() => 's1'),
    ];
  }

  /** The same for the key with most of them, or with fewest. */
  accepting(which: 'most' | 'fewest' = 'most'): string[] {
    const [first = [], second = []] = [0, 1].map((key) => this.acceptingKey(key));
    return first.length > second.length === (which === 'most') ? first : second;
  }

  /** A client that follows the map writes one row; acknowledged means flushed. */
  write(): void {
    for (const [name, shard] of [
      ['s0', this.source],
      ['s1', this.target],
    ] as const) {
      if (!this.acceptingKey(this.#next).includes(name)) continue;
      shard.state.rows.push(this.#next);
      shard.flush();
      this.acknowledged.push(this.#next);
      this.#next += 1;
      return;
    }
  }

  /** The stream, as far as the source has got. */
  replicate(): void {
    const { source, target } = this;
    if (target.state.leaves !== 'staged') return;
    for (const subscription of target.state.subscriptions) {
      const slot = source.state.slots.find(({ name }) => name === subscription.name);
      if (slot === undefined) continue;
      const log = source.state.rows;
      const from = Math.max(slot.position, subscription.applied);
      target.state.rows.push(...log.slice(from));
      subscription.applied = Math.max(log.length, subscription.applied);
      slot.position = subscription.applied;
    }
  }

  /** The world as one operator reaches it: each effect waits for its turn before and after. */
  worldOf(turn: () => Promise<void>, losesAnswer: () => boolean): MoveWorld {
    const store = <T>(versions: Versioned<T>[]): Store<T> => {
      let latest: Versioned<T> | undefined;
      return {
        read: async () => {
          await turn();
          latest = versions.at(-1);
          if (latest === undefined) throw new Error('nothing there');
          return latest;
        },
        latest: () => latest,
        replace: async (version, value) => {
          await turn();
          if (versions.at(-1)?.version !== version) return 'conflict';
          const next = { version: String(Number(version) + 1), value };
          versions.push(next);
          await turn();
          if (losesAnswer()) throw new Error('no answer');
          latest = next;
          return { version: next.version };
        },
      };
    };
    return {
      map: store(this.map),
      record: store(this.record),
      now: () => this.now,
      hold: async () => {
        if (!this.held) return 'go-on';
        await turn();
        return this.held ? 'look-again' : 'go-on';
      },
      obstacles: async () => [],
      rival: async () => 'none',
      observe: async (side) => {
        await turn();
        return this.#facts(side === 'source' ? this.source : this.target);
      },
      perform: async (move, step, view) => {
        await turn();
        const timelines = [this.source.state.timeline, this.target.state.timeline];
        // What a synchronous standby has not confirmed is seen by nobody, but for prepared transactions.
        const pause = async () => {
          if (step.kind !== 'fence' && step.kind !== 'open') this.#flushAfter(step);
          await turn();
        };
        const result = await this.#perform(move, step, view, pause);
        await pause();
        if (this.source.state.timeline !== timelines[0] || this.target.state.timeline !== timelines[1]) {
          throw new Error('the connection was lost');
        }
        this.#flushAfter(step);
        if (losesAnswer()) throw new Error('no answer');
        return result;
      },
    };
  }

  /** A commit waits for its own shard's standbys; what the stream has brought is confirmed with it. */
  #flushAfter(step: ShardStep): void {
    if (!onTarget.has(step.kind)) this.source.flush();
    if (!onSource.has(step.kind)) this.target.flush();
  }

  #facts({ state }: ModelShard): ShardFacts {
    return structuredClone({
      ...state,
      marker: newestOf(state),
      slots: state.slots.map(({ name, position }) => ({
        name,
        lost: false,
        lagBytes: this.source.state.rows.length - position,
      })),
      subscriptions: state.subscriptions.map(({ name }) => ({ name, enabled: true })),
    });
  }

  async #perform(
    move: Move,
    step: ShardStep,
    view: MoveView,
    turn: () => Promise<void>,
  ): Promise<StepResult> {
    const source = () => this.source.state;
    const target = () => this.target.state;
    const has = (state: ShardState, copy: number) =>
      state.guard?.move === move.key && state.guard.copy === copy;
    const armed = (state: ShardState, attempt: number) =>
      state.guard?.move === move.key && state.guard.armed && state.guard.attempt === attempt;
    switch (step.kind) {
      case 'stage':
        for (const state of [target, source]) {
          if (state().guard !== undefined && !has(state(), step.copy)) return refuse('guard');
          if (state().guard === undefined) {
            if (state === target) {
              if (target().leaves !== 'absent') return refuse('in the way');
              target().leaves = 'staged';
            }
            const base = { attempt: 0, armed: false, copying: false, copied: false };
            state().guard = { move: move.key, copy: step.copy, ...base };
          }
          await turn();
        }
        return done;
      case 'publish':
        if (!has(source(), step.copy)) return refuse('guard');
        source().publications = [copyName(move.id, step.copy)];
        source().roles = [copyName(move.id, step.copy)];
        return done;
      case 'copy-rows': {
        const name = copyName(move.id, step.copy);
        const { guard } = source();
        if (guard === undefined || !has(source(), step.copy) || guard.copying) return refuse('guard');
        source().guard = { ...guard, copying: true };
        this.source.flush();
        await turn();
        const position = source().rows.length;
        source().slots.push({ name, position });
        this.source.flush();
        const rows = source().rows.slice(0, position);
        await turn();
        const known = target().guard;
        if (known === undefined || !has(target(), step.copy) || known.copied) return refuse('guard');
        if (target().leaves !== 'staged') return refuse('leaves');
        target().rows = rows;
        target().guard = { ...known, copied: true };
        return done;
      }
      case 'subscribe': {
        const name = copyName(move.id, step.copy);
        if (!has(target(), step.copy) || target().leaves !== 'staged') return refuse('guard');
        if (target().subscriptions.every((other) => other.name !== name)) {
          target().subscriptions.push({ name, applied: 0 });
        }
        return done;
      }
      case 'catch-up':
        return done;
      case 'index':
        for (const state of [target, source]) {
          if (!has(state(), step.copy)) return refuse('guard');
          state().unsettled = true;
          await turn();
        }
        return done;
      case 'verify':
        return done;
      case 'arm':
      case 'disarm':
        for (const [state, side] of [
          [source, 'fence'],
          [target, 'open'],
        ] as const) {
          const { guard } = state();
          if (guard?.move === move.key) {
            const held = state().prepared.some(({ gid }) => parseGid(gid)?.side === side);
            if (held) return refuse('Locked');
            if (step.kind === 'disarm') {
              const attempt = Math.max(guard.attempt, step.attempt);
              state().guard = { ...guard, attempt, armed: false };
            } else if (guard.attempt < step.attempt) {
              state().guard = { ...guard, attempt: step.attempt, armed: true };
            }
          }
          await turn();
        }
        return done;
      case 'fence': {
        const gid = gidOf({ id: move.id, attempt: step.attempt, side: 'fence', epoch: step.epoch });
        if (!armed(source(), step.attempt) || newestOf(source()) !== step.from) return refuse('guard');
        if (source().prepared.length > 0 || this.busy) return refuse('Locked');
        source().prepared.push({ gid, since: this.now });
        return done;
      }
      case 'drain':
        if (source().prepared.every(({ gid }) => gid !== step.gid)) return refuse('no fence');
        this.replicate();
        return target().subscriptions.some(({ applied }) => applied === source().rows.length)
          ? done
          : refuse('not drained');
      case 'open': {
        const gid = gidOf({ id: move.id, attempt: step.attempt, side: 'open', epoch: step.epoch });
        if (!armed(target(), step.attempt) || target().leaves !== 'staged') return refuse('guard');
        if (target().prepared.length > 0) return refuse('Locked');
        target().prepared.push({ gid, since: this.now });
        return done;
      }
      case 'gate':
        for (const [shard, gid, timeline] of [
          [this.source, step.fence, view.record.timelines?.source],
          [this.target, step.open, view.record.timelines?.target],
        ] as const) {
          const flushed = shard.durable.prepared.some((prepared) => prepared.gid === gid);
          if (!flushed || shard.state.timeline !== timeline) return refuse('not flushed');
        }
        return done;
      case 'commit-target': {
        const prepared = target().prepared.find(({ gid }) => gid === step.gid);
        if (prepared === undefined) return refuse('gone');
        target().prepared = [];
        target().markers = move.children.map(({ id }) => ({ id, epoch: parseGid(step.gid)?.epoch ?? 0 }));
        target().leaves = 'attached';
        return done;
      }
      case 'commit-source':
        if (source().prepared.every(({ gid }) => gid !== step.gid)) return refuse('gone');
        source().prepared = [];
        source().markers = [];
        return done;
      case 'roll-back-source':
        source().prepared = source().prepared.filter(({ gid }) => gid !== step.gid);
        return done;
      case 'roll-back-target':
        target().prepared = target().prepared.filter(({ gid }) => gid !== step.gid);
        return done;
      case 'unsubscribe':
        target().subscriptions = newer(target().subscriptions, step.copy);
        await turn();
        source().slots = newer(source().slots, step.copy);
        return done;
      case 'unstage':
        if (!has(target(), step.copy) || target().guard?.armed === true) return done;
        if (target().prepared.length > 0 || target().leaves !== 'staged') return refuse('Locked');
        Object.assign(target(), { leaves: 'absent', rows: [], guard: undefined, unsettled: false });
        return done;
      case 'unpublish':
        for (const names of ['publications', 'roles'] as const) {
          source()[names] = source()[names].filter((name) => copyOf(name) > step.copy);
        }
        return done;
      case 'settle':
        for (const state of [source, target]) {
          if (state().leaves === 'attached') state().unsettled = false;
        }
        return done;
      case 'detach':
        if (source().markers.length > 0) return refuse('owner');
        if (source().leaves === 'attached') source().leaves = 'detached';
        return done;
      case 'retire':
        if (source().leaves === 'detached') Object.assign(source(), { leaves: 'absent', retired: true });
        return done;
      case 'forget':
        for (const state of [source, target]) {
          if (
            state().guard?.move === move.key &&
            (state().guard?.copy ?? 0) <= step.copy &&
            state().leaves !== 'staged'
          ) {
            state().guard = undefined;
          }
          await turn();
        }
        return done;
      case 'drop-retired':
        source().retired = false;
        return done;
    }
  }
}
