import { isDeepStrictEqual } from 'node:util';
import type { ShardMoveStatus } from '../../api/v1alpha1/shard-move.ts';
import { ApiError } from '../../runtime/api-error.ts';
import type { Clock } from '../../runtime/clock.ts';
import type { ReconcileResult } from '../../runtime/controller.ts';
import type { EventRecorder } from '../../runtime/events.ts';
import type { KubeClient } from '../../runtime/kube-client.ts';
import { bucketsText } from '../../sharding/move/buckets.ts';
import { firstRecord, type Move, type Step } from '../../sharding/move/model.ts';
import { shardMoveType } from '../sharded-cluster/kinds.ts';
import type { ShardMove } from './model.ts';
import { type Told, withProgress } from './progress.ts';
import { isCancelled } from './record.ts';
import { conditionsOf, messageOf } from './status.ts';

const waitingMs = 5_000;

/** Tells in status and events of moves how they stand; what a move has reached is in its record, which others write. */
export function createTelling({
  client,
  events,
  clock,
}: {
  readonly client: KubeClient;
  readonly events: EventRecorder;
  readonly clock: Clock;
}) {
  /** Says what is waited for. */
  async function say(
    shardMove: ShardMove,
    reason: string,
    message: string,
    signal: AbortSignal,
  ): Promise<ReconcileResult> {
    const text = `${reason}: ${message}`;
    if (shardMove.status?.message !== text)
      await writeStatus(shardMove, { ...shardMove.status, message: text }, signal);
    return { requeueAfterMs: waitingMs };
  }

  /** After a pass: what it came to, and conditions, if they say something new. */
  async function tell(
    before: ShardMove,
    message: string,
    lagBytes: number | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    const { namespace, name } = before.metadata;
    const latest = await client.get<ShardMove>(shardMoveType, { namespace, name }, { signal });
    if (latest === undefined) return;
    const { message: _message, lagBytes: _lagBytes, ...rest } = latest.status ?? {};
    const said = messageOf(rest, message);
    const status: ShardMoveStatus = {
      ...rest,
      ...(said === undefined ? {} : { message: said }),
      ...(lagBytes === undefined ? {} : { lagBytes }),
    };
    await writeStatus(latest, status, signal);
    if (before.status?.phase === latest.status?.phase) return;
    const { phase, lastEnding } = latest.status ?? {};
    if (phase === 'failed' || phase === 'cancelled') {
      const note = `the move ended: ${lastEnding?.message ?? phase}`;
      events.record(latest, {
        type: phase === 'failed' ? 'Warning' : 'Normal',
        reason: lastEnding?.reason ?? 'Failed',
        action: 'Move',
        note,
      });
    } else if (phase === 'retain' || (phase === 'done' && before.status?.phase !== 'retain')) {
      const note = `shard ${latest.spec.to} owns the bucket; it took no writes for ${status.fenceMs ?? 'an unknown number of'} ms`;
      events.record(latest, { type: 'Normal', reason: 'Moved', action: 'Move', note });
    }
  }

  /** During a step that takes long: how far a copy or the stream is, or what a slot waits for; `false` when the move is not wanted any more. */
  async function tellProgress(
    { metadata: { namespace, name } }: ShardMove,
    progress: Told,
    signal: AbortSignal,
  ): Promise<boolean> {
    const latest = await client.get<ShardMove>(shardMoveType, { namespace, name }, { signal });
    if (latest === undefined || isCancelled(latest)) return false;
    const { status = {} } = latest;
    const told = withProgress(status, progress);
    if (told !== status) await writeStatus(latest, told, signal);
    return true;
  }

  async function writeStatus(object: ShardMove, status: ShardMoveStatus, signal: AbortSignal): Promise<void> {
    const { generation } = object.metadata;
    const wanted: ShardMoveStatus = {
      ...status,
      ...(generation === undefined ? {} : { observedGeneration: generation }),
      conditions: conditionsOf(status, object.status?.conditions, clock.now()),
    };
    if (isDeepStrictEqual(wanted, object.status)) return;
    try {
      await client.updateStatus(shardMoveType, { ...object, status: wanted }, { signal });
    } catch (error) {
      // Somebody changed the object meanwhile; the next pass says it again.
      if (!(error instanceof ApiError) || error.status !== 409) throw error;
    }
  }

  /** Of a move that has waited for others, too: it begins with its first tables. */
  function tellStart(shardMove: ShardMove, { group, from, to, parents, children }: Move): void {
    const parts = `${parents.length === 1 ? 'becomes' : 'become'} ${bucketsText(children)}`;
    const becomes = shardMove.spec.operation === 'move' ? '' : ` and ${parts}`;
    const note = `${bucketsText(parents)} of group ${group} from shard ${from} to ${to}${becomes}`;
    events.record(shardMove, { type: 'Normal', reason: 'MoveStarted', action: 'Move', note });
  }

  return { say, tell, tellProgress, tellStart, writeStatus };
}

/** Whether a step is the first that a move makes something by; a copy that is made anew begins no move. */
export function isStart(step: Step): boolean {
  return step.kind === 'stage' && step.copy === firstRecord.copy;
}
