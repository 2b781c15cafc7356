import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ensureSchema } from '../../src/postgres/herdsman-schema.ts';
import {
  ensurePasswords,
  planRoles,
  poolerRole,
  type RolesSpec,
  readRoles,
} from '../../src/postgres/roles.ts';
import { scramVerifier, verifierMatches } from '../../src/postgres/scram.ts';
import { sharedPostgres } from '../support/shared-postgres.ts';
import { makeWorld, open, rows, type World } from './world.ts';

let world: World;

beforeAll(async () => {
  world = await makeWorld('roles', 1);
}, 60_000);
afterAll(() => world?.close());

const spec = (changes: Partial<RolesSpec> = {}): RolesSpec => ({
  operator: 'herdsman',
  database: world.shard(0).database,
  application: { name: world.application, verifier: scramVerifier(world.password) },
  monitoring: { name: world.monitoring, verifier: scramVerifier(world.password) },
  ...changes,
});

describe('roles', () => {
  it('need nothing more once they are there', async () => {
    const { operator } = world.shard(0);
    expect(planRoles(spec(), await readRoles(operator))).toEqual({ statements: [], problems: [] });
    const roles = { application: world.application, monitoring: world.monitoring };
    expect(await ensureSchema(operator, roles)).toBe(false);
    expect(await ensurePasswords(operator, [{ name: world.application, password: world.password }])).toEqual(
      [],
    );
  });

  it('are given back what somebody took from them', async () => {
    const { operator, database } = world.shard(0);
    await operator.query({ text: `GRANT CONNECT ON DATABASE "${database}" TO PUBLIC` });
    await operator.query({ text: `ALTER ROLE "${world.monitoring}" RESET statement_timeout` });
    const plan = planRoles(spec(), await readRoles(operator));
    expect(plan.statements).toHaveLength(2);
    for (const next of plan.statements) await operator.query(next);
    expect(planRoles(spec(), await readRoles(operator)).statements).toEqual([]);
  });

  it.each(['postgres', 'herdsman', 'replication', 'pg_monitor'])('are never called %s', async (name) => {
    const application = { name, verifier: scramVerifier('x') };
    const plan = planRoles(spec({ application }), await readRoles(world.shard(0).operator));
    expect(plan.statements).toEqual([]);
    expect(plan.problems).toContainEqual(expect.objectContaining({ code: 'reserved-username' }));
  });

  it('keep the owner of a database', async () => {
    const application = { name: 'roles_renamed', verifier: scramVerifier('x') };
    const plan = planRoles(spec({ application }), await readRoles(world.shard(0).operator));
    expect(plan).toMatchObject({ statements: [], problems: [{ code: 'database-owner' }] });
  });

  it('get a changed password once, as a verifier', async () => {
    const { operator, database } = world.shard(0);
    const role = { name: world.application, password: 'another sécret' };
    expect(await ensurePasswords(operator, [role])).toEqual([world.application]);
    expect(await ensurePasswords(operator, [role])).toEqual([]);
    const session = await open(world.application, role.password, database);
    await session.close();
    await expect(open(world.application, world.password, database)).rejects.toMatchObject({
      sqlstate: '28P01',
    });
  });

  it('let the monitoring role read the map and statistics, and write nothing', async () => {
    const { operator, database } = world.shard(0);
    await ensurePasswords(operator, [{ name: world.monitoring, password: 'watch' }]);
    const session = await open(world.monitoring, 'watch', database);
    await rows(session, 'SELECT FROM herdsman.shard_map');
    await rows(session, 'SELECT FROM pg_stat_replication');
    await session.query({ text: 'SET default_transaction_read_only = off' });
    await expect(session.query({ text: 'CREATE TABLE public.x (id int)' })).rejects.toMatchObject({
      sqlstate: '42501',
    });
    await session.close();
  });

  it('let poolers alone ask for a verifier, and one at a time', async () => {
    const { operator, application } = world.shard(0);
    await ensurePasswords(operator, [{ name: world.application, password: world.password }]);
    const [login] = await rows<{ verifier: string }>(
      operator,
      'SELECT verifier FROM herdsman.login($1)',
      world.application,
    );
    expect(verifierMatches(login?.verifier ?? '', world.password)).toBe(true);
    expect(await rows(operator, "SELECT verifier FROM herdsman.login('postgres')")).toEqual([]);
    for (const text of ["SELECT FROM herdsman.login('x')", 'SELECT FROM herdsman.logins']) {
      await expect(application.query({ text })).rejects.toMatchObject({ sqlstate: '42501' });
    }
    const granted = await rows<{ login: boolean; logins: boolean; member: boolean }>(
      operator,
      `SELECT has_function_privilege($1, 'herdsman.login(text)', 'EXECUTE') AS login,
        has_table_privilege($1, 'herdsman.logins', 'SELECT') AS logins,
        EXISTS (SELECT FROM pg_auth_members WHERE member = $1::regrole) AS member`,
      poolerRole,
    );
    expect(granted).toEqual([{ login: true, logins: false, member: false }]);
  });

  it('without rights on a database cannot connect to it', async () => {
    const other = await makeWorld('roles_other', 1);
    const attempt = open(other.application, other.password, world.shard(0).database);
    await expect(attempt).rejects.toMatchObject({ sqlstate: '42501' });
    await other.close();
  });

  it('never have a password in an error', async () => {
    const { operator } = world.shard(0);
    const failing = ensurePasswords(operator, [{ name: 'nobody_here', password: 'topsecret' }]);
    const error = await failing.catch((reason: Error) => reason);
    expect(JSON.stringify(error, Object.getOwnPropertyNames(error))).not.toMatch(/topsecret|SCRAM-SHA/);
    expect(sharedPostgres().password).not.toBe('');
  });
});
