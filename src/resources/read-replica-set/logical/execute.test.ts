import { expect, test } from 'vitest';
import type { Connection } from '../../../postgres/connection.ts';
import { copyName } from '../../../postgres/read-model/names.ts';
import type { SourceFacts } from '../../../postgres/read-model/publisher.ts';
import { copy, live, member, source, tables } from '../test-support/model-world.ts';
import { cluster, readers } from '../test-support/world.ts';
import type { ModelExecution, ModelPass } from './context.ts';
import { tidy } from './execute.ts';

type Work = (connection: Connection) => Promise<unknown>;

const former = copyName('reports', 0, '123456');
const next = copyName('reports', 0, '654321');

/** A primary with the slots and roles of these copies, and what it was told to drop. */
function primaryWith(names: readonly string[]) {
  const told: string[] = [];
  const query = async ({ text, values = [] }: { text: string; values?: readonly unknown[] }) => {
    if (text.includes('AS pid')) return names.map((name) => ({ name, pid: null }));
    if (text.includes('FROM pg_roles')) return names.map((name) => ({ kind: 'role', name }));
    told.push([text, ...values].join(' '));
    return [];
  };
  return { told, connection: { query } as unknown as Connection };
}

/** Tidies a shard that has these, where others were seen before. */
async function tidied(
  present: readonly string[],
  seen: Pick<SourceFacts, 'slots' | 'roles'>,
): Promise<string> {
  const { told, connection } = primaryWith(present);
  const set = readers();
  const context = { connections: { use: (_: unknown, work: Work) => work(connection) } };
  const pass = {
    set: { ...set, metadata: { ...set.metadata, name: 'reports' } },
    cluster,
    tables,
    observation: {
      sources: [source('s0', seen)],
      members: [member({ copy: live })],
      shards: { asOperator: () => ({}) },
    },
  };
  await tidy(context as unknown as ModelExecution, pass as unknown as ModelPass, []);
  return told.join('\n');
}

test('what has come to a shard since it was looked at is not taken away', async () => {
  const slots = [copy, former].map((name) => ({ name, lost: false }));
  const dropped = await tidied([copy, former, next], { slots, roles: [copy, former] });
  expect(dropped).toContain(`pg_drop_replication_slot($1) ${former}`);
  expect(dropped).toContain(`DROP ROLE "${former}"`);
  expect(dropped).not.toContain(next);
  expect(dropped).not.toContain(copy);
});

test('the role of a copy that never got a slot is taken away', async () => {
  expect(await tidied([former], { slots: [], roles: [former] })).toContain(`DROP ROLE "${former}"`);
  expect(await tidied([former], { slots: [], roles: [copy] })).toBe('');
});
