import type { Known, MapBucket, MoveView, Prepared, ShardFacts, Step } from './model.ts';
import { gidOf, type Side } from './names.ts';

/**
 * The view after a step of the switch that is known to be done, so that the next one need not wait for the shards to be read
 * again; `undefined` for all others. It adds only what this very operator has seen succeed: everything that could
 * have changed since is checked again by the step itself, on the shard or by the compare-and-swap.
 */
export function advance(view: MoveView, step: Step, now: number): MoveView | undefined {
  const { move, source, target, map } = view;
  if (map === 'unknown' || source === 'unknown' || target === 'unknown') return undefined;
  const next = (change: Partial<MoveView>): MoveView => ({ ...view, ...change, now });
  const prepare = (facts: ShardFacts, side: Side, attempt: number, epoch: number): ShardFacts => {
    const made: Prepared = { gid: gidOf({ id: move.id, attempt, side, epoch }), since: now };
    return { ...facts, prepared: [...facts.prepared.filter(({ gid }) => gid !== made.gid), made] };
  };
  switch (step.kind) {
    case 'fence':
      return next({ source: prepare(source, 'fence', step.attempt, step.epoch) });
    case 'drain':
      return next({ drained: step.gid });
    case 'open':
      return next({ target: prepare(target, 'open', step.attempt, step.epoch) });
    case 'gate':
      return next({ gated: true });
    case 'decide':
      return next({
        map: { owner: move.to, epoch: step.epoch, mapEpoch: Math.max(map.mapEpoch + 1, step.epoch) },
      });
    case 'commit-target':
      return next({ target: { ...without(target, step.gid), marker: epochOf(map), leaves: 'attached' } });
    case 'clear-pending':
      return next({ map: { owner: map.owner, epoch: map.epoch, mapEpoch: map.mapEpoch } });
    case 'roll-back-source':
      return next({ source: without(source, step.gid) });
    default:
      return undefined;
  }
}

function epochOf(map: Known<MapBucket>): number | undefined {
  return map === 'unknown' ? undefined : map.epoch;
}

function without(facts: ShardFacts, gid: string): ShardFacts {
  return { ...facts, prepared: facts.prepared.filter((prepared) => prepared.gid !== gid) };
}
