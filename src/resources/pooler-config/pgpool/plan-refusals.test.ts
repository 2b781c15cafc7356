import { beforeAll, describe, expect, it } from 'vitest';
import type { SecretReading } from '../../sharded-cluster/model.ts';
import type { Observed } from '../model.ts';
import { decide, settle } from '../test-support/pgpool-passes.ts';
import { member, pgpoolConfig, pgpoolSecrets, pgpoolWorld, readers } from '../test-support/pgpool-world.ts';
import { secret, targetCluster } from '../test-support/world.ts';

let all: Map<string, SecretReading>;

beforeAll(async () => {
  all = await pgpoolSecrets();
});

describe('bad input', () => {
  const login = (content: Record<string, string>) =>
    ({ logins: ['other'], secret: ['other', secret(content)] }) as const;
  const refusals: [string, Record<string, unknown>, Partial<Observed>, string, RegExp][] = [
    ['an unknown cluster', {}, { cluster: undefined }, 'TargetNotFound', /no ShardedCluster "shop"/],
    ['an unknown set', {}, { sets: [] }, 'TargetNotFound', /no ReadReplicaSet "readers"/],
    [
      'a set of another cluster',
      {},
      { sets: [readers({ cluster: 'other' })] },
      'TargetUnfit',
      /"other", not to "shop"/,
    ],
    [
      'a read model of its own',
      {},
      { sets: [readers({ mode: 'logical', logical: { tables: [{ name: 'orders' }] } })] },
      'TargetUnfit',
      /is a read model of its own.*name a physical set/,
    ],
    [
      'a set that cascades',
      {},
      { sets: [readers({ source: 'cascade' })] },
      'TargetUnfit',
      /set its spec.source to "primary"/,
    ],
    [
      'a set that shows the past',
      {},
      { sets: [readers({ workload: 'delayed' })] },
      'TargetUnfit',
      /the past/,
    ],
    [
      'a set that is elsewhere',
      {},
      { sets: [readers({ shards: ['s1'] })] },
      'TargetUnfit',
      /no members in shard s0/,
    ],
    [
      'too many members',
      {},
      { sets: [readers({}, [member(127)])] },
      'TooManyBackends',
      /128 members.*takes 127/,
    ],
    ['an unknown shard', { shard: 's7' }, {}, 'ShardNotFound', /"s7", and there is only s0/],
    [
      'an unknown setting',
      { parameters: { log_statment: 'on' } },
      {},
      'InvalidParameter',
      /did you mean "log_statement"/,
    ],
    [
      'a value that is none',
      { parameters: { log_statement: 'maybe' } },
      {},
      'InvalidParameter',
      /write "on" or "off"/,
    ],
  ];

  it.each(refusals)(
    '%s is said, and running instances are left as they are',
    (_, pgpool, changes, reason, message) => {
      const { observed } = settle(pgpoolConfig(), pgpoolWorld({ secrets: all }));
      const decided = decide(pgpoolConfig(pgpool), { ...observed, ...changes });
      expect(decided.actions).toEqual([]);
      expect(decided.result).toMatchObject({ kind: 'fail', reason, message: expect.stringMatching(message) });
    },
  );

  it.each([
    [
      'no password',
      { username: 'reports' },
      'SecretIncomplete',
      /"other" needs the keys "username" and "password"/,
    ],
    ['a name with a colon', { username: 'a:b', password: 'x' }, 'LoginUnfit', /letters, digits/],
    ['a name that is there', { username: 'app', password: 'x' }, 'LoginTwice', /"app" of another one/],
  ])('a Secret with %s is said', (_, content, reason, message) => {
    const { logins, secret: entry } = login(content as unknown as Record<string, string>);
    const { observed } = settle(pgpoolConfig(), pgpoolWorld({ secrets: all }));
    const secrets = new Map([...observed.secrets, entry]);
    const decided = decide(pgpoolConfig({ logins }), { ...observed, secrets });
    expect(decided).toMatchObject({
      actions: [],
      result: { reason, message: expect.stringMatching(message) },
    });
  });

  it('of a share that others have not given up yet is waited for', () => {
    const sharing = { poolers: 2, taken: { names: ['web'], total: 86 } };
    const decided = decide(pgpoolConfig(), pgpoolWorld({ secrets: all, sharing }));
    expect(decided).toMatchObject({
      actions: [],
      result: { kind: 'wait', reason: 'ShareTaken', message: expect.stringContaining('PoolerConfig "web"') },
    });
  });

  it('of pools that do not fit names the numbers', () => {
    const { observed } = settle(pgpoolConfig(), pgpoolWorld({ secrets: all }));
    const decided = decide(pgpoolConfig({}, { sizing: 'manual', poolSize: 60 }), observed);
    expect(decided.result).toMatchObject({
      reason: 'PoolsDoNotFit',
      message: expect.stringMatching(/leaves 87.*124 are needed/),
    });
    const one = decide(pgpoolConfig(), { ...observed, cluster: targetCluster({ members: 1 }) });
    expect(one.result).toEqual({ kind: 'ready' });
  });
});
