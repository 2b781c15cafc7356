import { describe, expect, test } from 'vitest';
import { readReplicaSetSpec } from '../../api/v1alpha1/read-replica-set.ts';
import { shardedClusterSpec } from '../../api/v1alpha1/sharded-cluster.ts';
import { effectiveSettings } from './settings.ts';

function settings(
  spec: Record<string, unknown>,
  cluster: Record<string, unknown> = {},
  useParameters = true,
) {
  return effectiveSettings(
    readReplicaSetSpec.parse({ cluster: 'shop', ...spec }),
    { spec: shardedClusterSpec.parse({ storage: { size: '10Gi' }, ...cluster }) },
    useParameters,
  );
}

describe('a workload', () => {
  test.each([
    { workload: 'oltp', seconds: 10, delayMs: 0, feedback: 'on' },
    { workload: 'analytics', seconds: 300, delayMs: 0, feedback: 'on' },
    { workload: 'delayed', seconds: 300, delayMs: 3_600_000, feedback: 'off' },
  ])('$workload sets limits, delay and feedback', ({ workload, seconds, delayMs, feedback }) => {
    const { limits, applyDelayMs, parameters } = settings({ workload });
    expect([limits.maxSeconds, applyDelayMs, parameters.hot_standby_feedback]).toEqual([
      seconds,
      delayMs,
      feedback,
    ]);
  });

  test('is overridden field by field', () => {
    const { limits, applyDelayMs, parameters } = settings({
      workload: 'delayed',
      applyDelay: '4h',
      lag: { maxBytes: '1Mi' },
      parameters: { hot_standby_feedback: 'on' },
    });
    expect(limits).toEqual({ maxBytes: 1024 ** 2, maxSeconds: 300 });
    expect(applyDelayMs).toBe(4 * 3_600_000);
    expect(parameters).toMatchObject({ hot_standby_feedback: 'on', recovery_min_apply_delay: '14400000ms' });
  });

  test('stands alone while the parameters are refused', () => {
    expect(settings({ parameters: { work_mem: 'much' } }, {}, false).parameters).not.toHaveProperty(
      'work_mem',
    );
  });
});

describe('members of another size', () => {
  const resources = { limits: { memory: '8Gi' } };

  test('are tuned for it, but for what they share with the primary', () => {
    const { parameters } = settings({ resources });
    expect(parameters.shared_buffers).toBe('2048MB');
    expect(parameters).not.toHaveProperty('max_connections');
  });

  test('are not, where the cluster tunes nothing or says it itself', () => {
    expect(settings({ resources }, { postgres: { tuning: 'none' } }).parameters).not.toHaveProperty(
      'shared_buffers',
    );
    const given = { postgres: { parameters: { shared_buffers: '1GB' } } };
    expect(settings({ resources }, given).parameters).not.toHaveProperty('shared_buffers');
  });

  test('keep as much WAL for those that follow them as their own volume bears, unless the user says how much', () => {
    const storage = { size: '2Gi' };
    expect(settings({ storage }).parameters).toMatchObject({ max_slot_wal_keep_size: '512MB' });
    const given = { max_slot_wal_keep_size: '1GB' };
    expect(settings({ storage, parameters: given }).parameters).toMatchObject(given);
    expect(settings({ storage }, { postgres: { parameters: given } }).parameters).not.toHaveProperty(
      'max_slot_wal_keep_size',
    );
  });

  test('have nothing of their own when they are like the others', () => {
    expect(settings({}).parameters).not.toHaveProperty('shared_buffers');
  });
});
