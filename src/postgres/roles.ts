import type { Problem } from '../sharding/problem.ts';
import type { Connection } from './connection.ts';
import { quoteIdentifier, quoteLiteral } from './identifier.ts';
import { scramVerifier, verifierMatches } from './scram.ts';
import { type Statement, statement } from './statement.ts';

/** The role as which poolers ask for the verifiers of those who log in to them (`herdsman.login`); it has no other right. */
export const poolerRole = 'herdsman_pooler';

/** A role that authenticates by password; only its SCRAM verifier is ever part of a statement. */
export interface RoleSpec {
  readonly name: string;
  readonly verifier: string;
}

/** Roles and database that every shard shall have. */
export interface RolesSpec {
  /** The operator's own role. */
  readonly operator: string;
  /** Owner of the database and of all that migrations make. */
  readonly application: RoleSpec;
  /** May read statistics. */
  readonly monitoring: RoleSpec;
  readonly database: string;
  /** What the database is made from; default `template0`. */
  readonly template?: string;
}

/** Roles and databases as they are. */
export interface RolesObserved {
  readonly roles: readonly ObservedRole[];
  readonly databases: readonly ObservedDatabase[];
}

/** A role, with what it is a member of. */
export interface ObservedRole {
  readonly name: string;
  readonly login: boolean;
  readonly superuser: boolean;
  readonly replication: boolean;
  readonly settings: readonly string[];
  readonly memberships: readonly {
    readonly role: string;
    readonly inherit: boolean;
    readonly set: boolean;
  }[];
}

/** A database, with who may connect. */
export interface ObservedDatabase {
  readonly name: string;
  readonly owner: string;
  /** Whether everybody may connect, or make temporary tables. */
  readonly public: boolean;
  readonly connectors: readonly string[];
}

const observeQuery = `
SELECT
  (SELECT jsonb_agg(jsonb_build_object(
    'name', r.rolname, 'login', r.rolcanlogin, 'superuser', r.rolsuper, 'replication', r.rolreplication,
    'settings', coalesce((SELECT to_jsonb(s.setconfig) FROM pg_db_role_setting s WHERE s.setrole = r.oid AND s.setdatabase = 0), '[]'),
    'memberships', coalesce((SELECT jsonb_agg(jsonb_build_object('role', g.rolname, 'inherit', m.inherit_option, 'set', m.set_option))
      FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid), '[]')))
    FROM pg_roles r) AS roles,
  (SELECT jsonb_agg(jsonb_build_object(
    'name', d.datname, 'owner', pg_get_userbyid(d.datdba),
    'public', EXISTS (SELECT FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a WHERE a.grantee = 0),
    'connectors', coalesce((SELECT jsonb_agg(pg_get_userbyid(a.grantee)) FROM aclexplode(d.datacl) a
      WHERE a.grantee <> 0 AND a.privilege_type = 'CONNECT'), '[]')))
    FROM pg_database d) AS databases`;

/** Reads them, from any database of the server. */
export async function readRoles(connection: Connection): Promise<RolesObserved> {
  const [row] = await connection.query<RolesObserved>({ text: observeQuery });
  if (row === undefined) throw new Error('no row of roles');
  return row;
}

/** What has to be run, and what somebody has to look at. */
export interface RolesPlan {
  /** Each in a transaction of its own (CREATE DATABASE allows no other), in the database `postgres`, as the operator. */
  readonly statements: readonly Statement[];
  readonly problems: readonly Problem[];
}

/** Names that no Secret may ask for. */
const reserved = new Set(['postgres', 'replication', 'rewind', poolerRole, 'public', 'none']);

/** Plans what differs. Passwords of roles that are there are not its concern: see `ensurePasswords`. */
export function planRoles(spec: RolesSpec, observed: RolesObserved): RolesPlan {
  const problems = [spec.application, spec.monitoring].flatMap((role) => nameProblems(role, spec, observed));
  if (spec.application.name === spec.monitoring.name) {
    problems.push({
      code: 'one-role-twice',
      message: `application and monitoring both have the username "${spec.application.name}": write two different ones`,
    });
  }
  const database = observed.databases.find((candidate) => candidate.name === spec.database);
  if (database !== undefined && database.owner !== spec.application.name) {
    problems.push({
      code: 'database-owner',
      message:
        `database "${spec.database}" belongs to "${database.owner}", and the Secret's username is ` +
        `"${spec.application.name}": write "${database.owner}" back`,
    });
  }
  if (problems.length > 0) return { statements: [], problems };
  const statements = [
    ...loginStatements(spec.application, observed),
    ...membership(spec.application.name, spec.operator, observed),
    ...loginStatements(spec.monitoring, observed),
    ...membership('pg_monitor', spec.monitoring.name, observed),
    ...settings(spec.monitoring.name, monitoringSettings, observed),
    ...settings(spec.operator, operatorSettings, observed),
    ...poolerStatements(observed),
    ...databaseStatements(spec, database),
  ];
  return { statements: statements.map((text) => statement(text)), problems };
}

function nameProblems(role: RoleSpec, spec: RolesSpec, observed: RolesObserved): Problem[] {
  const known = observed.roles.find((candidate) => candidate.name === role.name);
  const privileged = known?.superuser === true || known?.replication === true;
  if (!reserved.has(role.name) && role.name !== spec.operator && !role.name.startsWith('pg_') && !privileged)
    return [];
  const message = `username "${role.name}" is not for applications: write another in the Secret`;
  return [{ code: 'reserved-username', message }];
}

function loginStatements(role: RoleSpec, observed: RolesObserved): string[] {
  const name = quoteIdentifier(role.name);
  const known = observed.roles.find((candidate) => candidate.name === role.name);
  if (known === undefined) return [`CREATE ROLE ${name} LOGIN PASSWORD ${quoteLiteral(role.verifier)}`];
  return known.login ? [] : [`ALTER ROLE ${name} LOGIN`];
}

function membership(role: string, member: string, observed: RolesObserved): string[] {
  const known = observed.roles
    .find((candidate) => candidate.name === member)
    ?.memberships.some((entry) => entry.role === role && entry.inherit && entry.set);
  if (known === true) return [];
  return [`GRANT ${quoteIdentifier(role)} TO ${quoteIdentifier(member)} WITH INHERIT TRUE, SET TRUE`];
}

/** Monitoring reads, and briefly. */
const monitoringSettings = { default_transaction_read_only: 'on', statement_timeout: '30s' };

/**
 * Workers that copy a bucket act as the operator. What they write goes to the disk as it is written: left to the next checkpoint, a
 * large copy holds up the commits of all for 100 ms and more.
 */
const operatorSettings = { backend_flush_after: '1MB' };

function settings(name: string, wanted: Readonly<Record<string, string>>, observed: RolesObserved): string[] {
  const present = observed.roles.find((candidate) => candidate.name === name)?.settings ?? [];
  return Object.entries(wanted)
    .filter(([parameter, value]) => !present.includes(`${parameter}=${value}`))
    .map(
      ([parameter, value]) => `ALTER ROLE ${quoteIdentifier(name)} SET ${parameter} = ${quoteLiteral(value)}`,
    );
}

/** Without a password: it proves who it is by a certificate. All databases of a server share it, so another may be faster. */
function poolerStatements(observed: RolesObserved): string[] {
  if (observed.roles.some((candidate) => candidate.name === poolerRole)) return [];
  return [
    `DO $$ BEGIN CREATE ROLE ${quoteIdentifier(poolerRole)} LOGIN; ` +
      'EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$',
  ];
}

function databaseStatements(spec: RolesSpec, database: ObservedDatabase | undefined): string[] {
  const name = quoteIdentifier(spec.database);
  const connectors = [spec.operator, spec.monitoring.name, poolerRole].filter(
    (role) => !database?.connectors.includes(role),
  );
  return [
    ...(database === undefined
      ? [
          `CREATE DATABASE ${name} OWNER ${quoteIdentifier(spec.application.name)} ENCODING 'UTF8' TEMPLATE ${quoteIdentifier(spec.template ?? 'template0')}`,
        ]
      : []),
    ...(database?.public === false ? [] : [`REVOKE ALL ON DATABASE ${name} FROM PUBLIC`]),
    ...(connectors.length === 0
      ? []
      : [`GRANT CONNECT ON DATABASE ${name} TO ${connectors.map(quoteIdentifier).join(', ')}`]),
  ];
}

/** Runs planned statements one by one, outside a transaction. */
export async function applyRoles(connection: Connection, plan: RolesPlan): Promise<void> {
  for (const next of plan.statements) await connection.query(next);
}

/**
 * Gives roles the passwords of their Secrets, where they differ from what was given last; answers the names of those that
 * changed. The operator cannot read PostgreSQL's own verifiers, so `herdsman.logins` keeps a second copy of them, which
 * nobody else may read; poolers ask for one at a time by `herdsman.login`. In the application database.
 */
export async function ensurePasswords(
  connection: Connection,
  roles: readonly { readonly name: string; readonly password: string }[],
): Promise<string[]> {
  const known = await connection.query<{ role_name: string; verifier: string }>({
    text: 'SELECT role_name, verifier FROM herdsman.logins',
  });
  const changed = roles.filter(({ name, password }) => {
    const row = known.find((candidate) => candidate.role_name === name);
    return row === undefined || !verifierMatches(row.verifier, password);
  });
  for (const { name, password } of changed) await setPassword(connection, name, scramVerifier(password));
  return changed.map((role) => role.name);
}

async function setPassword(connection: Connection, name: string, verifier: string): Promise<void> {
  await connection.transaction(async () => {
    await connection.query({
      text: `ALTER ROLE ${quoteIdentifier(name)} PASSWORD ${quoteLiteral(verifier)}`,
    });
    await connection.query(
      statement(
        `INSERT INTO herdsman.logins (role_name, verifier) VALUES ($1, $2)
          ON CONFLICT (role_name) DO UPDATE SET verifier = excluded.verifier`,
        name,
        verifier,
      ),
    );
  });
}
