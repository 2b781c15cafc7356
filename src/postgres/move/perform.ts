import type { ShardStep } from '../../sharding/move/drive.ts';
import type { MoveView, StepResult } from '../../sharding/move/model.ts';
import { type MoveContext, refusable } from './context.ts';
import { publish, stage, subscribe, unpublish, unstage, unsubscribe } from './copy.ts';
import { copyRows } from './copy-rows.ts';
import { detach, dropRetired, forget, retire, settle } from './finish.ts';
import { indexLeaves } from './index-leaves.ts';
import { catchUp, drain } from './sentinel.ts';
import { arm, commit, disarm, fence, gate, open, rollBack } from './switch.ts';
import { verify } from './verify.ts';

/** Does one step of a move on the shards. What PostgreSQL refuses was not done; an exception leaves it unknown. */
export async function performStep(
  context: MoveContext,
  step: ShardStep,
  view: MoveView,
): Promise<StepResult> {
  const result = await refusable(() => perform(context, step, view));
  return result.kind === 'done' ? result : withEnd(context, step, result);
}

type Refused = Extract<StepResult, { kind: 'refused' }>;

/** The steps of which none has been announced to writers. */
const quietSteps: ReadonlySet<ShardStep['kind']> = new Set([
  'stage',
  'publish',
  'copy-rows',
  'subscribe',
  'catch-up',
  'index',
  'verify',
  'arm',
]);

/** What the words about the end of a move need. */
interface EndContext extends Pick<MoveContext, 'volumes'> {
  readonly move: Pick<MoveContext['move'], 'from' | 'to'>;
}

/**
 * A copy that was refused is not gone on with. A full disk ends a move that is not announced, which gives back what it wrote: trying
 * again would fill the disk again, and whoever writes there needs it.
 */
export function withEnd(
  { move: { from, to }, volumes }: EndContext,
  { kind }: Pick<ShardStep, 'kind'>,
  result: Refused,
): Refused {
  const { reason, ends } = result;
  if (ends !== undefined) return result;
  if (reason === 'DiskFull' && quietSteps.has(kind)) {
    const growsTo = volumes?.target.growsTo ?? volumes?.source.growsTo;
    const way =
      growsTo === undefined ? 'raise spec.storage.size' : `wait until its volume has grown to ${growsTo}`;
    const message =
      `shard ${to} or ${from} has a full disk (${result.message}); what the move wrote there is dropped: ` +
      `${way}, and make the move again`;
    return { ...result, message, ends: 'failed' };
  }
  return kind === 'copy-rows' && reason !== 'CopyBegan' ? { ...result, ends: 'copy' } : result;
}

function perform(context: MoveContext, step: ShardStep, view: MoveView): Promise<StepResult> {
  switch (step.kind) {
    case 'stage':
      return stage(context, step.copy);
    case 'publish':
      return publish(context, step.copy);
    case 'copy-rows':
      return copyRows(context, step.copy);
    case 'subscribe':
      return subscribe(context, step.copy);
    case 'catch-up':
      return catchUp(context, step.copy);
    case 'index':
      return indexLeaves(context, step.copy);
    case 'verify':
      return verify(context, step.copy);
    case 'arm':
      return arm(context, step, view.record.copy);
    case 'fence':
      return fence(context, step, view);
    case 'drain':
      return drain(context, step.gid);
    case 'open':
      return open(context, step);
    case 'gate':
      return gate(context, step, view);
    case 'commit-target':
      return commit(context, 'target', step.gid);
    case 'commit-source':
      return commit(context, 'source', step.gid);
    case 'roll-back-source':
      return rollBack(context, 'source', step.gid);
    case 'roll-back-target':
      return rollBack(context, 'target', step.gid);
    case 'disarm':
      return disarm(context, step);
    case 'unsubscribe':
      return unsubscribe(context, step.copy);
    case 'unstage':
      return unstage(context, step.copy);
    case 'unpublish':
      return unpublish(context, step.copy);
    case 'settle':
      return settle(context);
    case 'detach':
      return detach(context);
    case 'retire':
      return retire(context);
    case 'forget':
      return forget(context, step.copy);
    case 'drop-retired':
      return dropRetired(context);
  }
}
