import { describe, expect, it } from 'vitest';
import { podCores } from './pod-metrics.ts';

/** As metrics-server 0.7 answers it. */
function metrics(name: string, ...usages: readonly string[]) {
  return { metadata: { name }, containers: usages.map((cpu) => ({ usage: { cpu, memory: '63480Ki' } })) };
}

describe('the cores that a pod uses', () => {
  it.each([
    [['136415256n'], 0.136415256],
    [['250m'], 0.25],
    [['1500u', '2'], 2.0015],
    [['0'], 0],
    [[], 0],
    [['much'], 0],
  ])('are the sum of its containers: %j', (usages, expected) => {
    expect(podCores({ items: [metrics('shop-s0-0', ...usages)] }).get('shop-s0-0')).toBeCloseTo(expected, 9);
  });

  it('are those of one container, where it is named', () => {
    const [one, other] = [metrics('web-pooler-0', '300m'), metrics('web-pooler-0', '900m')];
    const containers = [one, other].flatMap((pod, index) =>
      pod.containers.map((container) => ({ ...container, name: ['pgbouncer', 'exporter'][index] ?? '' })),
    );
    const items = [{ ...one, containers }];
    expect(podCores({ items }, 'pgbouncer').get('web-pooler-0')).toBeCloseTo(0.3, 9);
  });

  it('are not known of a pod that is not in the list', () => {
    expect(podCores({}).size).toBe(0);
  });
});
