import { beforeAll, describe, expect, it } from 'vitest';
import { authorityLifetime, createAuthority } from '../../pki/authority.ts';
import { succeedingAuthority } from '../../pki/rotation.ts';
import type { SecretReading } from '../sharded-cluster/model.ts';
import { contentOf } from '../sharded-cluster/steps/identity.ts';
import { plan } from './plan.ts';
import { kinds } from './test-support/passes.ts';
import { allSecrets, now, observedWorld, planInput, poolerConfig, secret } from './test-support/world.ts';

let all: Map<string, SecretReading>;

beforeAll(async () => {
  all = await allSecrets();
});

describe('Secrets', () => {
  it('a Secret without a key is said', () => {
    const secrets = new Map([...all, ['shop-app', secret({ password: 'x' })] as const]);
    const decided = plan(planInput(poolerConfig(), observedWorld({ secrets })));
    expect(decided.result).toMatchObject({
      reason: 'SecretIncomplete',
      message: expect.stringContaining('"shop-app"'),
    });
  });

  it.each(['stats', 'pgbouncer', 'herdsman'])('a login %s, which poolers turn away, is said', (username) => {
    const secrets = new Map([...all, ['shop-app', secret({ username, password: 'x' })] as const]);
    const decided = plan(planInput(poolerConfig(), observedWorld({ secrets })));
    expect(decided).toMatchObject({
      actions: [],
      result: {
        reason: 'LoginUnfit',
        message: expect.stringContaining(`"shop-app" has the username "${username}"`),
      },
    });
  });

  it('a Secret that cannot be read makes nothing new', () => {
    const unknown: SecretReading = { state: 'unknown', error: new Error('no answer') };
    const secrets = new Map([...all, ['web-pooler-admin', unknown] as const]);
    const decided = plan(planInput(poolerConfig(), observedWorld({ secrets })));
    expect(decided).toMatchObject({ actions: [], result: { kind: 'wait', reason: 'SecretUnknown' } });
  });
});

it('another name that clients may use takes another certificate, once', () => {
  const input = planInput(poolerConfig(), observedWorld({ secrets: all }));
  const named = (names: readonly string[]) =>
    plan({ ...input, pooler: poolerConfig({ service: { names } }) }).actions;
  const issued = [{ kind: 'issue', reason: 'other-names' }];
  expect(named(['db.example.com'])).toEqual(issued);
  // Those that it has anyway are no others.
  expect(named(['localhost'])).not.toContainEqual(expect.objectContaining({ kind: 'issue' }));
});

describe('an authority whose key was lost', () => {
  /** The cluster has another one since `now`, and peers trust both. */
  async function replaced(): Promise<Map<string, SecretReading>> {
    const pair = await createAuthority({ commonName: 'store/shop', now, lifetime: authorityLifetime });
    const { current, bundle } = succeedingAuthority(
      pair,
      [contentOf(all.get('shop-ca'))?.['ca.crt'] ?? ''],
      now,
    );
    const content = { 'ca.crt': current.certificate, 'ca.key': current.key, 'ca-bundle.crt': bundle };
    return new Map([...all, ['shop-ca', secret(content)] as const]);
  }

  it('signed certificates that are good until everybody trusts the next one', async () => {
    const input = planInput(poolerConfig(), observedWorld({ secrets: await replaced() }));
    expect(kinds(plan(input))).toEqual(['write-secret']);
    const later = new Date(now.getTime() + 25 * 3_600_000);
    expect(plan({ ...input, now: later }).actions).toEqual([{ kind: 'issue', reason: 'other-authority' }]);
  });
});
