import { effectiveDurability } from '../desired/dynamic-config.ts';
import {
  type Action,
  type ObservedShard,
  type PlanInput,
  proceed,
  type ShardedCluster,
  type StepResult,
  type Stray,
} from '../model.ts';

/** Patroni looks once, when a server starts, whether it has to be rewound; so a restart lets it look again. */
const restartAfterMs = 120_000;

/** By then one that was restarted has replayed whatever it had. */
const copyAfterMs = 900_000;

/** What is done about a stray; `keep` is to leave it to a person. */
type Treatment = 'wait' | 'restart' | 'copy' | 'keep';

/**
 * Standbys that have lost touch with their primary. One whose WAL is gone is copied anew, since nothing else can help it;
 * another one is restarted, and copied anew if that was no help. None holds up what comes after: a new template may be what
 * helps.
 */
export function strays({ cluster: { spec }, observed }: PlanInput): StepResult {
  const actions = observed.shards.flatMap((shard) => broughtBack(spec, shard));
  return actions.length === 0 ? proceed : { kind: 'continue', actions };
}

/** Strays of a shard whose data has to be judged by a person. */
export function keptStrays(spec: ShardedCluster['spec'], shard: ObservedShard): Stray[] {
  return shard.strays.filter((stray) => treatmentOf(stray, spec, shard) === 'keep');
}

/** One at a time: until its copy is whole, those that are behind may be all that there is beside the primary. */
function broughtBack(spec: ShardedCluster['spec'], shard: ObservedShard): Action[] {
  const treated = (treatment: Treatment) =>
    shard.strays.find(
      (stray) =>
        treatmentOf(stray, spec, shard) === treatment &&
        shard.members.every(({ name, ready }) => ready || name === stray.name),
    );
  const copied = treated('copy');
  if (copied !== undefined) {
    const evidence = copied.isLost
      ? 'its primary no longer has the WAL that it needs next'
      : 'it reaches its primary, which has gone on, and does not follow it, nor did it after a restart';
    return [{ kind: 'reinitialize', shard: shard.name, member: copied.name, evidence }];
  }
  const restarted = treated('restart');
  return restarted === undefined ? [] : [{ kind: 'restart', shard: shard.name, member: restarted.name }];
}

function treatmentOf(stray: Stray, spec: ShardedCluster['spec'], shard: ObservedShard): Treatment {
  if (stray.isLost) return 'copy';
  if (!stray.isRestarted) return stray.forMs >= restartAfterMs ? 'restart' : 'wait';
  if (stray.forMs < copyAfterMs) return 'wait';
  return stray.isApart && isSpare(stray, spec, shard) ? 'copy' : 'keep';
}

/**
 * Whether nothing that was acknowledged can be on this standby alone: commits wait for a standby, it is none of those whose
 * word counts, and another one is. (Two servers that led one after the other on one timeline tell by no position whose rows
 * are whose. Patroni keeps what diverged by the same rule.)
 */
function isSpare({ name }: Stray, spec: ShardedCluster['spec'], { group }: ObservedShard): boolean {
  if (effectiveDurability(spec) === 'asynchronous' || group.state !== 'present') return false;
  const counting = [...group.value.members].flatMap(([member, { sync }]) => (sync ? [member] : []));
  return counting.length > 0 && !counting.includes(name);
}
