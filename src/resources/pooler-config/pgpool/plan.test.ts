import { beforeAll, describe, expect, it } from 'vitest';
import type { SecretReading } from '../../sharded-cluster/model.ts';
import { kinds } from '../test-support/passes.ts';
import { decide, settle, starts } from '../test-support/pgpool-passes.ts';
import { pgpoolConfig, pgpoolSecrets, pgpoolWorld } from '../test-support/pgpool-world.ts';
import { secret, targetCluster, targetSecrets } from '../test-support/world.ts';

let target: Map<string, SecretReading>;
let all: Map<string, SecretReading>;

beforeAll(async () => {
  target = await targetSecrets();
  all = await pgpoolSecrets();
});

describe('a new PoolerConfig', () => {
  it('gets a key, then a certificate, then settings, then objects', () => {
    expect(kinds(decide(pgpoolConfig(), pgpoolWorld({ secrets: target })))).toEqual(['generate-key']);
    const withKey = new Map([...target, ['web-pooler-key', secret({ key: 'k' })] as const]);
    expect(kinds(decide(pgpoolConfig(), pgpoolWorld({ secrets: withKey })))).toEqual(['issue']);
    expect(kinds(decide(pgpoolConfig(), pgpoolWorld({ secrets: all })))).toEqual(['write-secret']);
  });

  it('comes to rest, and then wants nothing more', () => {
    const { observed, last } = settle(pgpoolConfig(), pgpoolWorld({ secrets: all }));
    expect(last.result).toEqual({ kind: 'ready' });
    expect(observed.instances).toHaveLength(2);
    expect([...observed.objects.keys()]).toEqual([
      'Service/web-pooler-peers',
      'Service/web-pooler',
      'PodDisruptionBudget/web-pooler',
      'StatefulSet/web-pooler',
    ]);
    // 100 - 3 - 10 = 87 for two instances, of which each keeps 2 for its checks.
    expect(last.sizing?.databases).toEqual([{ name: 'app', shard: 's0', poolSize: 41, maxConnections: 43 }]);
  });
});

describe('an image', () => {
  it.each([
    ['the cluster', {}, 'registry'],
    ['their own', { imagePullSecrets: [{ name: 'other' }] }, 'other'],
  ])('is pulled by instances with Secrets of %s', (_, spec, name) => {
    const cluster = targetCluster({ imagePullSecrets: [{ name: 'registry' }] });
    const { observed } = settle(pgpoolConfig({}, spec), pgpoolWorld({ secrets: all, cluster }));
    expect(observed.objects.get('StatefulSet/web-pooler')?.spec).toMatchObject({
      template: { spec: { imagePullSecrets: [{ name }] } },
    });
  });
});

describe('settings', () => {
  it.each([
    ['a weight', { readReplicaSets: [{ name: 'readers', weight: 5 }] }],
    ['a limit of lag', { maxLag: '3s' }],
    ['what a write does to reads', { disableLoadBalanceOnWrite: 'always' }],
    ['a setting that is read again', { parameters: { log_statement: 'on' } }],
  ])('%s: running instances take it over', (_, pgpool) => {
    const before = settle(pgpoolConfig(), pgpoolWorld({ secrets: all }));
    const after = settle(pgpoolConfig(pgpool), before.observed);
    expect(starts(after)).toEqual(starts(before));
    expect(after.plans.flatMap(kinds)).toEqual(['write-secret', 'deliver', 'deliver']);
  });

  it.each([
    ['a query cache', { queryCache: {} }, {}],
    ['a setting that is read at the start', { parameters: { process_management_mode: 'static' } }, {}],
    ['the number of clients', {}, { sizing: 'manual', poolSize: 5 }],
  ])('%s: instances are replaced', (_, pgpool, spec) => {
    const before = settle(pgpoolConfig(), pgpoolWorld({ secrets: all }));
    const after = settle(pgpoolConfig(pgpool, spec), before.observed);
    expect(new Set([...starts(after), ...starts(before)]).size).toBe(2);
  });

  it('make those that are there smaller before others come', () => {
    const before = settle(pgpoolConfig(), pgpoolWorld({ secrets: all }));
    const { plans, observed } = settle(pgpoolConfig({}, { replicas: 4 }), before.observed);
    const sizes = plans.flatMap(({ actions }) =>
      actions.flatMap((action) =>
        action.kind === 'apply' && action.object.kind === 'StatefulSet'
          ? [(action.object.spec as { replicas: number }).replicas]
          : [],
      ),
    );
    expect(sizes).toEqual([2, 4]);
    expect(observed.instances).toHaveLength(4);
  });

  it('with pools of a given size need no new process for another number of instances', () => {
    const manual = { sizing: 'manual', poolSize: 10 };
    const before = settle(pgpoolConfig({}, manual), pgpoolWorld({ secrets: all }));
    const after = settle(pgpoolConfig({}, { ...manual, replicas: 3 }), before.observed);
    expect(new Set([...starts(before), ...starts(after)]).size).toBe(1);
  });

  it('have every login once, and no password in clear', () => {
    const more = new Map([
      ...all,
      ['shop-reports', secret({ username: 'reports', password: 'quite secret' })] as const,
    ]);
    const [action] = decide(
      pgpoolConfig({ logins: ['shop-reports'] }),
      pgpoolWorld({ secrets: more }),
    ).actions;
    const data = action?.kind === 'write-secret' ? action.secret.data : {};
    const text = Object.values(data).map((value) => Buffer.from(value, 'base64').toString('utf8'));
    expect(text.join('\n')).not.toContain('quite secret');
    const passwords = Buffer.from(data.pool_passwd ?? '', 'base64').toString('utf8');
    expect(passwords.split('\n').map((line) => line.split(':')[0])).toEqual([
      'app',
      'monitoring',
      'reports',
      '',
    ]);
  });
});
