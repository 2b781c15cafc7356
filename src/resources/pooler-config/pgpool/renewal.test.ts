import { beforeAll, describe, expect, it } from 'vitest';
import type { SecretReading } from '../../sharded-cluster/model.ts';
import { contentOf } from '../../sharded-cluster/steps/identity.ts';
import type { Observed } from '../model.ts';
import { kinds } from '../test-support/passes.ts';
import { after, decide, settle, starts } from '../test-support/pgpool-passes.ts';
import { pgpoolConfig, pgpoolSecrets, pgpoolWorld } from '../test-support/pgpool-world.ts';
import { now, planInput, secret, targetSecrets } from '../test-support/world.ts';
import { planPgpool } from './plan.ts';

let target: Map<string, SecretReading>;
let all: Map<string, SecretReading>;

beforeAll(async () => {
  target = await targetSecrets();
  all = await pgpoolSecrets();
});

describe('certificates beside a spec that is refused', () => {
  const refused = pgpoolConfig({ parameters: { log_statement: 'maybe' } });
  let settled: ReturnType<typeof settle>;
  let renewed: Map<string, SecretReading>;
  beforeAll(async () => {
    settled = settle(pgpoolConfig(), pgpoolWorld({ secrets: all }));
    renewed = await pgpoolSecrets();
  });
  const content = ({ secrets }: Observed) => contentOf(secrets.get('web-pooler')) ?? {};
  /** A new certificate was issued, by a new authority. */
  const issued = (): Observed => {
    const files = { ...content(settled.observed), ...content({ ...settled.observed, secrets: renewed }) };
    return { ...settled.observed, secrets: new Map([...renewed, ['web-pooler', secret(files)] as const]) };
  };

  it.each([
    ['a setting', refused, {}],
    ['the set', pgpoolConfig(), { sets: [] }],
  ])('are issued when it is time, whatever is refused: %s', (_, pooler, changes) => {
    const later = new Date(now.getTime() + 80 * 86_400_000);
    const decided = planPgpool({ ...planInput(pooler, { ...settled.observed, ...changes }), now: later });
    expect(decided.result.kind).toBe('fail');
    expect(kinds(decided)).toEqual(['issue']);
  });

  it('are, too, when a Secret has no key', () => {
    const later = new Date(now.getTime() + 80 * 86_400_000);
    const secrets = new Map([
      ...settled.observed.secrets,
      ['shop-app', secret({ username: 'app' })] as const,
    ]);
    const decided = planPgpool({
      ...planInput(pgpoolConfig(), { ...settled.observed, secrets }),
      now: later,
    });
    expect(decided.result).toMatchObject({ reason: 'SecretIncomplete' });
    expect(kinds(decided)).toEqual(['issue']);
  });

  it('reach instances, which are started anew with the settings and the template that they have', () => {
    const observed = issued();
    const written = decide(refused, observed);
    expect(kinds(written)).toEqual(['write-secret']);
    const world = written.actions.reduce((before, action) => after(before, action, written), observed);
    const [action, ...others] = decide(refused, world).actions;
    expect(others).toEqual([]);
    const { start = '' } = content(world);
    const live = settled.observed.statefulSet;
    const before = content(settled.observed).start?.trim() ?? '';
    expect(action?.kind === 'apply' && action.object).toEqual(
      JSON.parse(JSON.stringify(live).replaceAll(before, start.trim())),
    );
    // It is the very start that the same settings have once nothing is refused any more.
    const mended = settle(pgpoolConfig(), world);
    expect(starts(mended)).toEqual([start.trim(), start.trim()]);
  });

  it('are none where there are no settings yet', () => {
    expect(decide(refused, pgpoolWorld({ secrets: target })).actions).toEqual([]);
  });
});
