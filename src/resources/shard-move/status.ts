import type { ShardMoveStatus } from '../../api/v1alpha1/shard-move.ts';
import { type ConditionInput, setCondition } from '../../runtime/conditions.ts';
import type { Condition } from '../../runtime/kubernetes-object.ts';

type Conditions = NonNullable<ShardMoveStatus['conditions']>;

/** Ready: the bucket is on its new shard. Progressing: something is still to be done. */
export function conditionsOf(status: ShardMoveStatus, before: Conditions | undefined, now: Date): Conditions {
  return [ready(status), progressing(status)].flatMap((condition) => {
    const previous = (before ?? []).filter(({ type }) => type === condition.type).map(withoutUndefined);
    return setCondition(previous, condition, now).map((entry) => ({ ...entry }));
  });
}

function ready({ phase, lastEnding, message }: ShardMoveStatus): ConditionInput {
  const type = 'Ready';
  switch (phase) {
    case 'finish':
    case 'retain':
    case 'done':
      return { type, status: 'True', reason: 'Moved', message: 'the new shard owns the bucket' };
    case 'failed':
    case 'cancelled': {
      const text = lastEnding?.message ?? message ?? phase;
      return { type, status: 'False', reason: lastEnding?.reason ?? 'Failed', message: text };
    }
    default: {
      // What is waited for is said with its reason.
      const [, reason = 'Moving', text = message] = /^([A-Z]\w+): (.+)$/s.exec(message ?? '') ?? [];
      return { type, status: 'False', reason, message: text ?? 'the bucket is on its way' };
    }
  }
}

function progressing({ phase }: ShardMoveStatus): ConditionInput {
  const type = 'Progressing';
  switch (phase) {
    case 'retain':
      return {
        type,
        status: 'False',
        reason: 'Retained',
        message: 'the old shard keeps what it had for a while',
      };
    case 'done':
    case 'failed':
    case 'cancelled':
      return { type, status: 'False', reason: 'Ended', message: 'nothing is left to do' };
    default:
      return {
        type,
        status: 'True',
        reason: 'Moving',
        message: `the move is in the phase ${phase ?? 'preflight'}`,
      };
  }
}

function withoutUndefined({ observedGeneration, ...condition }: Conditions[number]): Condition {
  return observedGeneration === undefined ? condition : { ...condition, observedGeneration };
}

/** What the status of a move says at the end of a pass: `said`, or of one that has ended without its buckets why. */
export function messageOf({ phase, lastEnding }: ShardMoveStatus, said: string): string | undefined {
  if (lastEnding !== undefined && (phase === 'failed' || phase === 'cancelled'))
    return `${lastEnding.reason}: ${lastEnding.message}`;
  // What is passing in a moment is not worth a request.
  return said === '' || said.startsWith('Working') ? undefined : said;
}
