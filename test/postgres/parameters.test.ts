import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Connection } from '../../src/postgres/connection.ts';
import {
  checkParameters,
  probeParameters,
  readRefusedSettings,
  readSettings,
  runsWith,
  type Setting,
} from '../../src/postgres/parameters.ts';
import { readShardStats } from '../../src/postgres/stats.ts';
import { openOperator } from './world.ts';

let operator: Connection;
let settings: Setting[];

beforeAll(async () => {
  operator = await openOperator('postgres');
  settings = await readSettings(operator);
});
afterAll(() => operator?.close());

describe('parameters', () => {
  it.each([
    ['work_mem', '64MB'],
    ['work_mem', '4096'],
    ['shared_buffers', '1.5GB'],
    ['checkpoint_timeout', '30min'],
    ['checkpoint_timeout', '300'],
    ['random_page_cost', '1.1'],
    ['vacuum_cost_delay', '500us'],
    ['log_min_duration_statement', '-1'],
    ['autovacuum', 'TRUE'],
    ['autovacuum', 't'],
    ['synchronous_commit', 'remote_apply'],
    ['synchronous_commit', 'yes'],
    ['wal_compression', 'LZ4'],
    ['DateStyle', 'ISO, DMY'],
    ['pg_stat_statements.max', '10000'],
    ['max_wal_size', '4GB'],
    ['log_rotation_age', '1d'],
    ['hash_mem_multiplier', '2'],
  ])('take %s = %s', async (name, value) => {
    expect(checkParameters({ [name]: value }, settings)).toEqual([]);
    expect(await probeParameters(operator, { [name]: value }, settings)).toEqual([]);
  });

  it.each([
    ['wrok_mem', '64MB', 'did you mean "work_mem"?'],
    ['max_conections', '64', 'did you mean "max_connections"?'],
    ['no_such_thing_at_all', '1', 'leave it out'],
    ['work_mem', '64Mb', 'its units are B, kB, MB, GB, TB'],
    ['work_mem', '16', 'outside 64 to 2147483647 (in kB)'],
    ['work_mem', 'much', 'is not a number'],
    ['checkpoint_timeout', '30MB', 'its units are us, ms, s, min, h, d'],
    ['checkpoint_timeout', '2d', 'outside 30 to 86400 (in s)'],
    ['max_connections', '10.5', 'not a whole number'],
    ['random_page_cost', '-1', 'outside 0 to'],
    ['autovacuum', 'maybe', 'write "on" or "off"'],
    ['synchronous_commit', 'sometimes', 'is not one of'],
    ['listen_addresses', '*', 'is set by the operator'],
    ['server_version', '18', 'is fixed'],
    ["x' ; DROP", '1', 'is not a name'],
  ])('refuse %s = %s and say what to write', (name, value, advice) => {
    expect(checkParameters({ [name]: value }, settings)).toMatchObject([
      { message: expect.stringContaining(advice) },
    ]);
  });

  it('agree with the server on every number that a session may set', async () => {
    const numbers = settings.filter(
      (setting) =>
        setting.context === 'user' && /integer|real/.test(setting.vartype) && !setting.name.includes('.'),
    );
    expect(numbers.length).toBeGreaterThan(50);
    for (const { name, min_val, max_val } of numbers) {
      for (const value of [min_val ?? '', max_val ?? '', `${Number(min_val) - 1}`, '5kB', '3s', '2.5', 'x']) {
        const ours = checkParameters({ [name]: value }, settings).length > 0;
        const theirs = (await probeParameters(operator, { [name]: value }, settings)).length > 0;
        // vacuum_buffer_usage_limit is 0 or at least 128 kB; and we refuse fractions of what has no unit.
        if (theirs && !ours && name !== 'vacuum_buffer_usage_limit')
          expect.soft({ name, value }).toEqual('refused by the server alone');
        if (ours && !theirs && value !== '2.5') expect.soft({ name, value }).toEqual('refused by us alone');
      }
    }
  });

  it('are in force that the server shows, and no others that it reads at its start', async () => {
    const shown = await operator.query<{ name: string; value: string }>({
      text: "SELECT name, current_setting(name) AS value FROM pg_settings WHERE context = 'postmaster'",
    });
    expect(shown.length).toBeGreaterThan(40);
    for (const { name, value } of shown)
      expect.soft({ name, value, runs: runsWith({ [name]: value }, settings) }).toMatchObject({ runs: true });
    const others = settings.flatMap(({ name, context, vartype, setting, enumvals }): [string, string][] => {
      if (context !== 'postmaster') return [];
      if (vartype === 'bool') return [[name, setting === 'on' ? 'false' : 'yes']];
      if (vartype === 'enum')
        return (enumvals ?? []).filter((word) => word !== setting).map((word) => [name, word]);
      return [[name, vartype === 'string' ? 'another' : `${Math.abs(Number(setting)) + 1}`]];
    });
    for (const [name, value] of others)
      expect
        .soft({ name, value, runs: runsWith({ [name]: value }, settings) })
        .toMatchObject({ runs: false });
    // Right after they were handed out, what needs no restart is not asked for.
    expect(runsWith({ work_mem: '123MB', 'pg_stat_statements.max': '5000' }, settings)).toBe(true);
    expect(runsWith({ SHARED_BUFFERS: '900GB' }, settings)).toBe(false);
  });

  it('let the server judge texts', async () => {
    expect(await probeParameters(operator, { DateStyle: 'stardate' }, settings)).toMatchObject([
      { message: expect.stringContaining('DateStyle') },
    ]);
    expect(await operator.query({ text: 'SELECT 1 AS ok' })).toEqual([{ ok: 1 }]);
  });

  it('that files hold are read where the operator may', async () => {
    const refused = await readRefusedSettings(operator);
    expect(refused === 'unknown' || refused.length === 0).toBe(true);
  });
});

describe('statistics of a shard', () => {
  it('are there without standbys', async () => {
    const stats = await readShardStats(operator);
    expect(stats).toMatchObject({ inRecovery: false, timeline: 1, standbys: [] });
    expect(stats.walLsn).toMatch(/^[0-9A-F]+\/[0-9A-F]+$/);
    expect(stats.databaseBytes).toBeGreaterThan(1_000_000);
  });
});
