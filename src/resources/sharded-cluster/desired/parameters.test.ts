import { expect, test } from 'vitest';
import { shardedClusterSpec } from '../../../api/v1alpha1/sharded-cluster.ts';
import { parameterProblems, serverParameters } from './parameters.ts';

// Some of these are refused at admission already; what got past it, by an older CRD, is refused here.
function parameters(
  user: Record<string, string>,
  tuning: 'auto' | 'none' = 'auto',
  size = '10Gi',
): Record<string, string> {
  const spec = shardedClusterSpec.parse({ postgres: { tuning }, storage: { size } });
  return serverParameters(spec, user);
}

test("the user's parameters win over tuned ones and defaults, whatever their case", () => {
  expect(parameters({ Work_Mem: '1GB', huge_pages: 'try' })).toMatchObject({
    work_mem: '1GB',
    huge_pages: 'try',
  });
  expect(parameters({ Work_Mem: '1GB' })).not.toHaveProperty('Work_Mem');
});

test('without tuning, sizes are left to PostgreSQL', () => {
  expect(parameters({}, 'none')).not.toHaveProperty('shared_buffers');
  expect(parameters({}, 'none')).toMatchObject({ wal_level: 'logical', max_wal_senders: '20' });
});

test.each(['auto', 'none'] as const)(
  'what a slot keeps is bounded by the volume, with tuning %s',
  (tuning) => {
    const bound = (size: string) => parameters({}, tuning, size).max_slot_wal_keep_size;
    expect(['256Mi', '512Mi', '1Gi', '100Gi'].map(bound)).toEqual(['64MB', '128MB', '256MB', '25600MB']);
    expect(parameters({ max_slot_wal_keep_size: '-1' }, tuning)).toMatchObject({
      max_slot_wal_keep_size: '-1',
    });
  },
);

test.each([
  ['ssl', 'off', 'set by Herdsman'],
  ['SSL', 'off', 'set by Herdsman'],
  ['wal_level', 'minimal', 'set by Herdsman'],
  ['archive_command', 'curl …', 'set by Herdsman'],
  ['listen_addresses', '*', 'set by Herdsman'],
  ['fsync', 'off', 'set by Herdsman'],
  ['max_wal_senders', '3', 'at least 20'],
  ['max_wal_senders', 'many', 'at least 20'],
  ["x'\nfsync", 'off', 'not the name'],
  ['work_mem = 1GB #', '', 'not the name'],
  ['a.b.c', '1', 'not the name'],
  ['search_path', "a\nfsync = 'off'", 'control character'],
])('%s = %s is refused', (name, value, message) => {
  expect(parameterProblems({ [name]: value })).toEqual([{ name, message: expect.stringContaining(message) }]);
  expect(parameters({ [name]: value })).toEqual(parameters({}));
});

test.each([
  ['max_wal_senders', '50'],
  ['auto_explain.log_min_duration', '1s'],
  ['shared_preload_libraries', 'pg_stat_statements,pg_cron'],
  ['search_path', '"$user", public'],
])("%s = %s is the user's own business", (name, value) => {
  expect(parameterProblems({ [name]: value })).toEqual([]);
  expect(parameters({ [name]: value })).toMatchObject({ [name]: value });
});
