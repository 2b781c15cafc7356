import { beforeAll, describe, expect, it } from 'vitest';
import { renewalTime } from '../../../pki/renewal.ts';
import { encoded } from '../desired/secrets.ts';
import type { Action, PlanInput, SecretReading } from '../model.ts';
import { planOf, settled } from '../test-support/advance.ts';
import { emptyWorld, observing, shardedCluster, wanting } from '../test-support/world.ts';
import { contentOf, loginOf } from './identity.ts';

let world: PlanInput;
beforeAll(async () => {
  world = await settled(emptyWorld(shardedCluster({ shards: { count: 2 } })));
});

function secret(content: Readonly<Record<string, string>>): SecretReading {
  return { state: 'present', value: { data: encoded(content), resourceVersion: '1' } };
}

function withSecret(input: PlanInput, name: string, reading: SecretReading): PlanInput {
  return observing(input, { secrets: new Map(input.observed.secrets).set(name, reading) });
}

function changed(input: PlanInput, name: string, change: Readonly<Record<string, string>>): PlanInput {
  const content = contentOf(input.observed.secrets.get(name));
  return withSecret(input, name, secret({ ...content, ...change }));
}

/** Actions in short: what is made, for whom, and why. */
function said(actions: readonly Action[]): string[] {
  return actions.map((action) => {
    switch (action.kind) {
      case 'issue-shard':
        return `${action.kind} ${action.shard}: ${action.reason}`;
      case 'issue-operator':
        return `${action.kind}: ${action.reason}`;
      case 'rotate-authority':
        return `${action.kind}: ${action.step}`;
      case 'generate-login':
        return `${action.kind}: ${action.role}`;
      case 'write-secret':
        return `${action.kind} ${action.secret.metadata.name}`;
      default:
        return action.kind;
    }
  });
}

const absent: SecretReading = { state: 'absent' };
const unknown: SecretReading = { state: 'unknown', error: new Error('timeout') };

describe('certificates', () => {
  it.each(['shop-ca', 'shop-operator-tls', 'shop-s0-tls', 'shop-s1-tls', 'shop-app', 'shop-monitoring'])(
    'wait for %s when it cannot be read, and nothing is made',
    (name) => {
      const { actions, outcomes } = planOf(withSecret(world, name, unknown));
      expect(actions).toEqual([]);
      expect(outcomes).toMatchObject([
        { track: 'identity', result: { kind: 'wait', reason: 'SecretUnknown', message: expect.any(String) } },
      ]);
    },
  );

  it('are issued for what has none', () => {
    expect(said(planOf(withSecret(world, 'shop-s1-tls', absent)).actions)).toEqual([
      'issue-shard s1: absent',
    ]);
    expect(said(planOf(withSecret(world, 'shop-operator-tls', absent)).actions)).toEqual([
      'issue-operator: absent',
    ]);
  });

  it.each([
    ['server', { 'tls.crt': 'no certificate' }, 'unreadable'],
    ['client', { 'client.key': 'no key' }, 'unreadable'],
    ['bundle', { 'ca.crt': 'another' }, 'bundle'],
  ])('are issued again when the %s part was spoilt', (_, change, reason) => {
    expect(said(planOf(changed(world, 'shop-s0-tls', change)).actions)).toEqual([
      `issue-shard s0: ${reason}`,
    ]);
  });

  it('are issued again when they are of another shard', () => {
    const other = world.observed.secrets.get('shop-s1-tls') ?? absent;
    expect(said(planOf(withSecret(world, 'shop-s0-tls', other)).actions)).toEqual([
      'issue-shard s0: other-names',
    ]);
  });

  it('are renewed after two thirds of their life, all of them, and not a moment before', () => {
    const due = renewalTime(contentOf(world.observed.secrets.get('shop-s0-tls'))?.['tls.crt'] ?? '');
    if (due === undefined) throw new Error('no certificate');
    expect(planOf({ ...world, now: new Date(due.getTime() - 1_000) }).actions).toEqual([]);
    expect(said(planOf({ ...world, now: due }).actions)).toEqual([
      'issue-shard s0: due',
      'issue-shard s1: due',
      'issue-operator: due',
    ]);
  });

  it('are left while the authority cannot be read, and no other is made', () => {
    const another = contentOf(world.observed.secrets.get('shop-s0-tls'))?.['tls.key'];
    const changes = [
      { 'ca.crt': 'no certificate' },
      { 'ca-bundle.crt': undefined },
      { 'ca.key': 'no key' },
      { 'ca.key': another },
    ];
    for (const change of changes) {
      const content = Object.fromEntries(
        Object.entries({ ...contentOf(world.observed.secrets.get('shop-ca')), ...change }).flatMap(
          ([key, value]) => (value === undefined ? [] : [[key, value] as const]),
        ),
      );
      const { actions, outcomes } = planOf(withSecret(world, 'shop-ca', secret(content)));
      expect(actions).toEqual([]);
      expect(outcomes).toMatchObject([{ result: { kind: 'fail', reason: 'AuthorityUnreadable' } }]);
    }
  });

  it('follow the authority through its rotation: trusted first, signing a day later', async () => {
    const due = renewalTime(contentOf(world.observed.secrets.get('shop-ca'))?.['ca.crt'] ?? '');
    if (due === undefined) throw new Error('no authority');
    expect(said(planOf({ ...world, now: due }).actions)).toEqual(['rotate-authority: stage']);
    const staged = await settled({ ...world, now: due });
    const bundle = contentOf(staged.observed.secrets.get('shop-s0-tls'))?.['ca.crt'] ?? '';
    expect(bundle.match(/BEGIN CERTIFICATE/g)).toHaveLength(2);
    const later = new Date(due.getTime() + 25 * 3_600_000);
    expect(said(planOf({ ...staged, now: later }).actions)).toEqual(['rotate-authority: promote']);
    const promoted = await settled({ ...staged, now: later });
    const authority = contentOf(promoted.observed.secrets.get('shop-ca'));
    expect(authority?.['next.crt']).toBeUndefined();
    expect(authority?.['ca.crt']).toBe(contentOf(staged.observed.secrets.get('shop-ca'))?.['next.crt']);
  });
});

describe('an authority whose Secret was deleted', () => {
  it('is followed by one that members trust before they get certificates of it', async () => {
    const part = (input: PlanInput, secretName: string, key: string) =>
      contentOf(input.observed.secrets.get(secretName))?.[key] ?? '';
    const before = part(world, 'shop-s0-tls', 'ca.crt');
    const after = await settled(withSecret(world, 'shop-ca', absent));
    const bundle = part(after, 'shop-s0-tls', 'ca.crt');
    expect(bundle).toContain(before);
    expect(bundle).toContain(part(after, 'shop-ca', 'ca.crt'));
    expect(bundle).toBe(part(after, 'shop-operator-tls', 'ca.crt'));
    for (const [name, key] of [
      ['shop-s0-tls', 'tls.crt'],
      ['shop-s1-tls', 'client.key'],
      ['shop-operator-tls', 'tls.crt'],
    ] as const)
      expect(part(after, name, key)).toBe(part(world, name, key));

    const later = { ...after, now: new Date(after.now.getTime() + 25 * 3_600_000) };
    expect(said(planOf(later).actions)).toEqual([
      'issue-shard s0: other-authority',
      'issue-shard s1: other-authority',
      'issue-operator: other-authority',
    ]);
  });
});

describe('logins', () => {
  it('are generated once, and again only when the Secret is known to be gone', () => {
    expect(said(planOf(withSecret(world, 'shop-app', absent)).actions)).toEqual([
      'generate-login: application',
    ]);
    expect(said(planOf(withSecret(world, 'shop-app', unknown)).actions)).toEqual([]);
  });

  it('are published again when a part is missing or changed, with the same password', () => {
    const before = contentOf(world.observed.secrets.get('shop-app'));
    const { actions } = planOf(changed(world, 'shop-app', { host: 'elsewhere' }));
    expect(said(actions)).toEqual(['write-secret shop-app']);
    const [action] = actions;
    if (action?.kind !== 'write-secret') throw new Error('nothing is written');
    expect(action.secret.data).toEqual(encoded(before ?? {}));
  });

  it('keep what somebody added to the Secret', () => {
    expect(planOf(changed(world, 'shop-app', { note: 'mine' })).actions).toEqual([]);
  });

  it.each([
    ['without a password', { username: 'app' }, /"shop-app" needs the keys/],
    ['with an empty password', { username: 'app', password: '' }, /"shop-app" needs the keys/],
    ['with the name of the operator', { username: 'herdsman', password: 'x' }, /reserved/],
    ['with a name of PostgreSQL', { username: 'pg_monitor', password: 'x' }, /reserved/],
    ['with a name that needs quotes', { username: 'App"; --', password: 'x' }, /lower-case/],
  ])('stop at a Secret %s, and generate nothing over it', (_, content, message) => {
    const { actions, outcomes } = planOf(withSecret(world, 'shop-app', secret(content)));
    expect(said(actions)).toEqual([]);
    const result = outcomes.find(({ track }) => track === 'content')?.result;
    expect(result).toMatchObject({ kind: 'fail', reason: 'SecretIncomplete' });
    expect(result?.kind === 'fail' && result.message).toMatch(message);
  });

  describe('that the user brings', () => {
    const spec = { shards: { count: 2 }, credentials: { application: 'mine' } };

    it('are waited for, and never generated', () => {
      const { actions, outcomes } = planOf(wanting(world, spec));
      expect(said(actions)).toEqual([]);
      expect(outcomes.find(({ track }) => track === 'content')?.result).toMatchObject({
        kind: 'fail',
        message: expect.stringContaining('Secret "mine" of spec.credentials.application does not exist'),
      });
    });

    it('are published in the own Secret, and the brought one is left alone', () => {
      const brought = withSecret(
        wanting(world, spec),
        'mine',
        secret({ username: 'shop', password: 'secret' }),
      );
      expect(said(planOf(brought).actions)).toEqual(['write-secret shop-app']);
      expect(loginOf(brought.cluster, brought.observed.secrets, 'application')).toEqual({
        username: 'shop',
        password: 'secret',
      });
    });
  });
});
