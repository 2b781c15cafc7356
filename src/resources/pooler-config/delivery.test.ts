import { beforeAll, describe, expect, it } from 'vitest';
import type { SecretReading } from '../sharded-cluster/model.ts';
import { contentOf } from '../sharded-cluster/steps/identity.ts';
import type { Observed } from './model.ts';
import { plan } from './plan.ts';
import { after, kinds, settle } from './test-support/passes.ts';
import {
  allSecrets,
  instance,
  now,
  observedWorld,
  planInput,
  poolerConfig,
  secret,
  targetSecrets,
} from './test-support/world.ts';

let target: Map<string, SecretReading>;
let all: Map<string, SecretReading>;

beforeAll(async () => {
  target = await targetSecrets();
  all = await allSecrets();
});

describe('certificates beside a spec that is refused', () => {
  const refusedSpec = { parameters: { server_check_delay: 'abc' } };
  const later = new Date(now.getTime() + 80 * 86_400_000);
  let settled: Observed;
  let renewedSecrets: Map<string, SecretReading>;
  beforeAll(async () => {
    settled = settle(poolerConfig(), observedWorld({ secrets: all })).observed;
    renewedSecrets = await allSecrets();
  });
  const content = (observed: Observed) => contentOf(observed.secrets.get('web-pooler')) ?? {};

  it('are issued when it is time', () => {
    const decided = plan({ ...planInput(poolerConfig(refusedSpec), settled), now: later });
    expect(kinds(decided)).toEqual(['issue']);
    expect(decided.result).toMatchObject({ kind: 'fail', reason: 'InvalidParameter' });
  });

  it('are, too, when a Secret has no key', () => {
    const secrets = new Map([...settled.secrets, ['shop-app', secret({ password: 'x' })] as const]);
    const decided = plan({ ...planInput(poolerConfig(), { ...settled, secrets }), now: later });
    expect(kinds(decided)).toEqual(['issue']);
    expect(decided.result).toMatchObject({ kind: 'fail', reason: 'SecretIncomplete' });
  });

  it('reach instances with the settings that they go on with', () => {
    const pair = { ...content(settled), ...content({ ...settled, secrets: renewedSecrets }) };
    const secrets = new Map([...renewedSecrets, ['web-pooler', secret(pair)] as const]);
    const observed: Observed = { ...settled, secrets };
    const decided = plan(planInput(poolerConfig(refusedSpec), observed));
    expect(kinds(decided)).toEqual(['write-secret']);
    const written = decided.actions.reduce((world, action) => after(world, action, decided), observed);
    expect(content(written)['pgbouncer.ini']).toBe(content(settled)['pgbouncer.ini']);
    expect(content(written)['tls.crt']).toBe(pair['tls.crt']);
    expect(kinds(plan(planInput(poolerConfig(refusedSpec), written)))).toEqual([
      'deliver',
      'reload',
      'deliver',
      'reload',
    ]);
    const held = new Set(['uid-0/app']);
    expect(kinds(plan(planInput(poolerConfig(refusedSpec), { ...written, held })))).toEqual([
      'deliver',
      'deliver',
      'reload',
    ]);
    // It is the revision that the same settings have once nothing is refused any more.
    expect(plan(planInput(poolerConfig(), written)).actions).toEqual(
      plan(planInput(poolerConfig(refusedSpec), written)).actions,
    );
  });

  it('are none where there are no settings yet', () => {
    const observed = observedWorld({ secrets: target });
    expect(plan(planInput(poolerConfig(refusedSpec), observed)).actions).toEqual([]);
  });
});

describe('an instance that was left without the connections that it keeps open', () => {
  const reloads = (left: number, held: readonly string[] = []) => {
    const pooler = poolerConfig({ minPoolSize: 2 });
    const { observed, last } = settle(pooler, observedWorld({ secrets: all }));
    const instances = [instance(0, { revision: last.revision, minPoolSize: left })];
    const { actions } = plan(planInput(pooler, { ...observed, instances, held: new Set(held) }));
    return actions.filter(({ kind }) => kind === 'reload');
  };

  it('reads its settings anew, once nobody holds its clients back', () => {
    expect(reloads(0)).toEqual([{ kind: 'reload', pod: 'web-pooler-0' }]);
    expect(reloads(0, ['uid-0/app'])).toEqual([]);
    expect(reloads(2)).toEqual([]);
  });
});

describe('an instance whose clients are held back', () => {
  const held = new Set(['uid-0/app']);
  const reload = (ordinal: number) => ({ kind: 'reload', pod: `web-pooler-${ordinal}` });
  const deliver = (ordinal: number, revision = '') => ({ ...reload(ordinal), kind: 'deliver', revision });

  it('has new settings at hand, and reads them once they go on', () => {
    const { observed } = settle(poolerConfig(), observedWorld({ secrets: all }));
    const changed = poolerConfig({ maxClientConnections: 5 });
    const written = plan(planInput(changed, observed));
    const world = written.actions.reduce((before, action) => after(before, action, written), observed);
    const next = plan(planInput(changed, { ...world, held }));
    const { revision } = next;
    expect(next.actions).toEqual([deliver(0, revision), deliver(1, revision), reload(1)]);
    expect(next.result).toMatchObject({ reason: 'SettingsPending' });
    expect(plan(planInput(changed, world)).actions).toContainEqual(reload(0));
  });
});
