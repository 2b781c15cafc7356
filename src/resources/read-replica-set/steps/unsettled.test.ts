import { describe, expect, test } from 'vitest';
import type { SetInput } from '../model.ts';
import { plan } from '../plan.ts';
import { input, member, readers, settled, shard, stats } from '../test-support/world.ts';

describe('something is under way', () => {
  const set = readers({ replicas: 1 });
  const reasons = (given: SetInput) => plan(given).progress.map(({ reason }) => reason);

  test('from the moment a template changes until the StatefulSet controller has seen it', () => {
    const present = settled(input(set, [shard([member(set, 0)])]));
    const larger = readers({ replicas: 1, resources: { requests: { cpu: '1' } }, parameters: {} });
    const changed = { ...present, set: larger };
    expect(reasons(present)).toEqual([]);
    expect(reasons(changed)).toContain('StatefulSetUnsettled');
    const unseen = input(set, [shard([member(set, 0)], { settled: false })]);
    expect(reasons(settled(unseen))).toEqual(['StatefulSetUnsettled']);
  });

  test('until a server has judged what was changed, but not when an operator asks again', () => {
    const { spec } = set;
    const at = (generation: number, observedGeneration: number) => ({
      ...set,
      spec,
      metadata: { ...set.metadata, generation },
      status: { observedGeneration },
    });
    const unjudged = { parameterProblems: undefined };
    expect(reasons(settled(input(at(2, 1), [shard([member(set, 0)])], unjudged)))).toEqual([
      'CheckingParameters',
    ]);
    expect(reasons(settled(input(at(2, 2), [shard([member(set, 0)])], unjudged)))).toEqual([]);
  });

  test('until members have read a changed configuration', () => {
    const old = member(set, 0, { stats: { state: 'present', value: stats(set, { config: 'another' }) } });
    expect(reasons(settled(input(set, [shard([old])])))).toEqual(['ReadingConfiguration']);
  });
});
