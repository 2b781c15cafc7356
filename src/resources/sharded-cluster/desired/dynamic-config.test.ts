import { expect, test } from 'vitest';
import { shardedClusterSpec } from '../../../api/v1alpha1/sharded-cluster.ts';
import { configPatch, type DynamicConfig, dynamicConfig, effectiveDurability } from './dynamic-config.ts';

function config(spec: Record<string, unknown>, parameters: Record<string, string> = {}): DynamicConfig {
  return dynamicConfig(shardedClusterSpec.parse({ storage: { size: '1Gi' }, ...spec }), parameters);
}

test.each([
  ['quorum', 3, 'quorum'],
  ['synchronous', 3, true],
  ['asynchronous', 3, false],
  ['quorum', 2, false],
  ['synchronous', 1, false],
] as const)('%s with %i members', (durability, members, mode) => {
  expect(config({ durability, members }).synchronous_mode).toBe(mode);
});

test('with fewer than three members commits wait for none', () => {
  expect(effectiveDurability({ durability: 'quorum', members: 2 })).toBe('asynchronous');
  expect(effectiveDurability({ durability: 'quorum', members: 3 })).toBe('quorum');
});

test('a member is wiped after a failed rewind only when commits waited for another', () => {
  const wiped = { postgresql: { remove_data_directory_on_rewind_failure: true } };
  expect(config({ durability: 'quorum' })).toMatchObject(wiped);
  expect(config({ durability: 'asynchronous' })).not.toMatchObject(wiped);
});

test('TLS is asked of all clients, or of internal identities alone', () => {
  const rules = (required: boolean) =>
    (config({ tls: { required } }).postgresql as { pg_hba: string[] }).pg_hba;
  expect(rules(true).at(-1)).toBe('hostssl all all all scram-sha-256');
  expect(rules(false).at(-1)).toBe('host all all all scram-sha-256');
  expect(rules(false).slice(0, -1)).toEqual(rules(true).slice(0, -1));
});

test('Patroni keeps its rule: loop_wait + 2 × retry_timeout ≤ ttl', () => {
  const { loop_wait, retry_timeout, ttl } = config({});
  expect(Number(loop_wait) + 2 * Number(retry_timeout)).toBeLessThanOrEqual(Number(ttl));
});

test('nothing is patched when nothing differs, whatever the order of keys', () => {
  const desired = config({}, { work_mem: '4MB' });
  const current = JSON.parse(JSON.stringify(Object.fromEntries(Object.entries(desired).reverse())));
  expect(configPatch(current, desired)).toBeUndefined();
});

test('the patch holds what differs, and null for parameters that went', () => {
  const current = config({}, { work_mem: '4MB', jit: 'off' });
  const desired = config({ durability: 'asynchronous' }, { work_mem: '8MB' });
  expect(configPatch(current, desired)).toEqual({
    synchronous_mode: false,
    postgresql: {
      remove_data_directory_on_diverged_timelines: false,
      remove_data_directory_on_rewind_failure: false,
      parameters: { work_mem: '8MB', jit: null },
    },
  });
});

test('what a person or Patroni set besides is left alone', () => {
  const desired = config({});
  expect(configPatch({ ...desired, pause: true, standby_cluster: { host: 'x' } }, desired)).toBeUndefined();
});

test('a Patroni that raises ttl to its own minimum of 20 is not asked again and again', () => {
  const desired = config({});
  expect(configPatch({ ...desired, ttl: 20 }, desired)).toBeUndefined();
  expect(configPatch({ ...desired, ttl: 30 }, desired)).toEqual({ ttl: desired.ttl });
});
