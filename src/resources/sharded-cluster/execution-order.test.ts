import { describe, expect, it } from 'vitest';
import { statefulSetType } from '../../runtime/kubernetes-types.ts';
import { stagesOf } from './execution-order.ts';
import type { Action } from './model.ts';

function object(kind: string) {
  return { apiVersion: 'v1', kind, metadata: { name: 'shop-s0', namespace: 'shop' } };
}

function apply(kind: string): Action {
  return { kind: 'apply', type: statefulSetType, object: object(kind) };
}

function remove(kind: string): Action {
  return { kind: 'delete', type: statefulSetType, object: object(kind), uid: 'uid', evidence: 'a test' };
}

const issue: Action = { kind: 'issue-shard', shard: 's0', reason: 'absent' };
const reload: Action = { kind: 'reload', shard: 's0', member: 'shop-s0-0' };
const resize: Action = {
  kind: 'resize-claim',
  claim: object('PersistentVolumeClaim'),
  size: '2Gi',
};

describe('stagesOf', () => {
  it('makes what pods need before the pods', () => {
    const stages = stagesOf([apply('StatefulSet'), apply('Role'), issue, reload]);
    expect(stages.map((stage) => stage.actions)).toEqual([
      [issue],
      [apply('Role')],
      [apply('StatefulSet')],
      [reload],
    ]);
    expect(stages.map((stage) => stage.isNeeded)).toEqual([true, true, true, false]);
  });

  it('replaces pods also while something inside a server or a volume fails', () => {
    const stages = stagesOf([remove('Pod'), resize, reload]);
    expect(stages).toEqual([
      { actions: [resize, reload], isNeeded: false },
      { actions: [remove('Pod')], isNeeded: true },
    ]);
  });

  it('deletes the StatefulSet of a shard only when all else of it is gone', () => {
    const stages = stagesOf([remove('StatefulSet'), remove('Service'), remove('Role')]);
    expect(stages.map((stage) => stage.actions)).toEqual([
      [remove('Service'), remove('Role')],
      [remove('StatefulSet')],
    ]);
    expect(stages[0]?.isNeeded).toBe(true);
  });
});
