import { describe, expect, it } from 'vitest';
import { statefulSetType } from '../../runtime/kubernetes-types.ts';
import { needs, stagesOf } from './execution-order.ts';
import type { Action } from './model.ts';
import { shardLabel } from './names.ts';

function object(kind: string, shard = 's0') {
  const labels = { [shardLabel]: shard };
  return { apiVersion: 'v1', kind, metadata: { name: `shop-${shard}`, namespace: 'shop', labels } };
}

function apply(kind: string, shard?: string): Action {
  return { kind: 'apply', type: statefulSetType, object: object(kind, shard) };
}

function remove(kind: string, shard?: string): Action {
  return {
    kind: 'delete',
    type: statefulSetType,
    object: object(kind, shard),
    uid: 'uid',
    evidence: 'a test',
  };
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
    expect(stages).toEqual([[issue], [apply('Role')], [apply('StatefulSet')], [reload]]);
  });

  it('replaces pods after what happens inside them', () => {
    expect(stagesOf([remove('Pod'), resize, reload])).toEqual([[resize, reload], [remove('Pod')]]);
  });

  it('deletes the StatefulSet of a shard only when all else of it is gone', () => {
    const stages = stagesOf([remove('StatefulSet'), remove('Service'), remove('Role')]);
    expect(stages).toEqual([[remove('Service'), remove('Role')], [remove('StatefulSet')]]);
  });
});

describe('needs', () => {
  const clusterWide: Action = { kind: 'generate-login', role: 'application' };
  const cases: [string, Action, Action, boolean][] = [
    ['pods their certificates', apply('StatefulSet'), issue, true],
    ['pods their rights', apply('StatefulSet'), apply('Role'), true],
    ['all shards what is of the cluster', apply('StatefulSet', 's1'), clusterWide, true],
    ['a StatefulSet that goes the rest of its shard', remove('StatefulSet'), remove('Service'), true],
    ['no shard another one', apply('StatefulSet', 's1'), apply('Role', 's0'), false],
    ['no shard that goes another one', remove('StatefulSet', 's1'), apply('StatefulSet', 's0'), false],
    ['no server that runs an object that is refused', reload, apply('StatefulSet'), false],
    ['no login that is in use a Secret that is refused', reload, clusterWide, false],
    ['no pod what fails inside a server', remove('Pod'), reload, false],
    ['no pod a volume that cannot grow', remove('Pod'), resize, false],
  ];
  it.each(cases)('%s', (_, action, failed, expected) => {
    expect(needs(action, failed)).toBe(expected);
  });
});
