import { createHash } from 'node:crypto';
import { roomySequences } from '../sharding/sequences.ts';
import type { Connection } from './connection.ts';
import { conversionTables } from './conversion/schema.ts';
import { quoteIdentifier } from './identifier.ts';
import { importTables } from './import/schema.ts';
import { locateFunctions } from './locate.ts';
import { moveTables } from './move/schema.ts';
import { poolerRole } from './roles.ts';
import { statement } from './statement.ts';

/** Roles that may use the schemas. */
export interface SchemaRoles {
  /** Owner of the users' tables; writes the ledger as part of its migrations. */
  readonly application: string;
  readonly monitoring: string;
}

/** SQLSTATE of a row that was sent to a shard that does not own its bucket. */
const wrongShard = 'HD001';

/** Idempotent DDL: run again as a whole whenever it or the roles changed. */
function definition({ application, monitoring }: SchemaRoles): string {
  const app = quoteIdentifier(application);
  return `
CREATE SCHEMA IF NOT EXISTS herdsman;
CREATE SCHEMA IF NOT EXISTS own;

CREATE TABLE IF NOT EXISTS herdsman.schema_version (checksum text NOT NULL);
CREATE TABLE IF NOT EXISTS herdsman.migrations (
  name text PRIMARY KEY,
  position int NOT NULL UNIQUE,
  checksum text NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
CREATE TABLE IF NOT EXISTS herdsman.tables (
  table_name text PRIMARY KEY,
  group_name text,
  strategy text NOT NULL,
  key_column text,
  hash_column text
);
CREATE TABLE IF NOT EXISTS herdsman.shard_map (
  group_name text NOT NULL,
  bucket int NOT NULL,
  strategy text NOT NULL,
  shard text NOT NULL,
  host text NOT NULL,
  port int NOT NULL,
  dbname text NOT NULL,
  epoch bigint NOT NULL,
  modulus int,
  remainder int,
  range_from text,
  range_to text,
  region text,
  list_values text[],
  is_default boolean NOT NULL DEFAULT false,
  PRIMARY KEY (group_name, bucket)
);
CREATE TABLE IF NOT EXISTS herdsman.foreign_keys (
  table_name text NOT NULL,
  name text NOT NULL,
  definition jsonb NOT NULL,
  PRIMARY KEY (table_name, name)
);
CREATE TABLE IF NOT EXISTS herdsman.logins (
  role_name text PRIMARY KEY,
  verifier text NOT NULL
);
DROP TABLE IF EXISTS herdsman.role_secrets;
${functions}
${moveTables}
${conversionTables}
${importTables}
${locateFunctions}
REVOKE ALL ON SCHEMA herdsman, own FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA herdsman, own FROM PUBLIC;
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA herdsman FROM PUBLIC;
GRANT USAGE ON SCHEMA herdsman, own TO ${app};
GRANT SELECT ON herdsman.tables, herdsman.shard_map, herdsman.migrations, herdsman.foreign_keys TO ${app};
GRANT INSERT ON herdsman.migrations TO ${app};
GRANT INSERT, UPDATE, DELETE ON herdsman.foreign_keys TO ${app};
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA herdsman TO ${app};
REVOKE EXECUTE ON FUNCTION herdsman.login(text) FROM ${app};
GRANT USAGE ON SCHEMA herdsman TO ${quoteIdentifier(poolerRole)};
GRANT EXECUTE ON FUNCTION herdsman.login(text) TO ${quoteIdentifier(poolerRole)};
GRANT SELECT ON ALL TABLES IN SCHEMA own TO ${app};
ALTER DEFAULT PRIVILEGES IN SCHEMA own GRANT SELECT ON TABLES TO ${app};
GRANT USAGE ON SCHEMA herdsman TO ${quoteIdentifier(monitoring)};
GRANT SELECT ON herdsman.tables, herdsman.shard_map, herdsman.migrations TO ${quoteIdentifier(monitoring)};
`;
}

const functions = `
CREATE OR REPLACE FUNCTION herdsman.run_migration(migration text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY INVOKER AS $function$
BEGIN
  -- EXECUTE takes several statements, and refuses those that would end the transaction.
  EXECUTE migration;
END
$function$;

CREATE OR REPLACE FUNCTION herdsman.refuse_row() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
  owner record;
BEGIN
  SELECT m.shard, m.host INTO owner FROM herdsman.shard_map m
    WHERE m.group_name = TG_ARGV[0] AND m.bucket = TG_ARGV[1]::int;
  RAISE EXCEPTION 'bucket % of group "%" is on shard %', TG_ARGV[1], TG_ARGV[0], coalesce(owner.shard, 'unknown')
    USING ERRCODE = '${wrongShard}', HINT = pg_catalog.format('Connect to %s, or ask herdsman.locate().', owner.host),
      SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME;
END
$function$;

CREATE OR REPLACE FUNCTION herdsman.markers() RETURNS TABLE (name text, bucket int, epoch bigint)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
  marker record;
BEGIN
  FOR marker IN
    SELECT c.relname::text AS relname FROM pg_class c
      WHERE c.relnamespace = 'own'::regnamespace AND c.relkind = 'r' AND c.relname ~ '_b[0-9]{4}$' ORDER BY c.relname
  LOOP
    name := marker.relname;
    bucket := NULL;
    epoch := NULL;
    BEGIN
      EXECUTE format('LOCK TABLE own.%I IN ACCESS SHARE MODE NOWAIT', marker.relname);
      EXECUTE format('SELECT m.bucket, m.epoch FROM own.%I m', marker.relname) INTO bucket, epoch;
      RETURN NEXT;
    EXCEPTION
      WHEN undefined_table THEN
        -- A move has just taken it away.
        NULL;
      WHEN lock_not_available THEN
        -- A move has fenced it: the mirror's row was written together with it, and is seen until the move commits.
        SELECT m.bucket, m.epoch INTO markers.bucket, markers.epoch FROM herdsman.shard_map m
          WHERE m.group_name = regexp_replace(marker.relname, '_b[0-9]{4}$', '')
            AND m.bucket = right(marker.relname, 4)::int;
        RETURN NEXT;
    END;
  END LOOP;
END
$function$;

CREATE OR REPLACE FUNCTION herdsman.sequences()
RETURNS TABLE (table_name text, start bigint, maximum bigint, unused boolean)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET lock_timeout = '20ms' AS $function$
DECLARE
  owned record;
BEGIN
  FOR owned IN
    SELECT t.relname AS root, n.nspname AS schema, q.relname AS name, s.seqstart, s.seqmax ${roomySequences}
      AND t.relnamespace = 'public'::regnamespace AND t.relkind = 'p' AND NOT t.relispartition
      AND has_sequence_privilege(s.seqrelid, 'SELECT') ORDER BY t.relname, q.relname
  LOOP
    table_name := owned.root;
    start := owned.seqstart;
    maximum := owned.seqmax;
    BEGIN
      EXECUTE format('SELECT NOT q.is_called AND q.last_value = $1 FROM %I.%I q', owned.schema, owned.name)
        INTO unused USING owned.seqstart;
    EXCEPTION
      WHEN undefined_table THEN
        CONTINUE;
      WHEN lock_not_available THEN
        -- As by TRUNCATE ... RESTART IDENTITY.
        unused := NULL;
    END;
    RETURN NEXT;
  END LOOP;
END
$function$;

CREATE OR REPLACE FUNCTION herdsman.login(name text) RETURNS TABLE (role_name text, verifier text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
  -- A verifier lets nobody log in by itself: whoever has it can check a password, as a pooler must.
  SELECT l.role_name, l.verifier FROM herdsman.logins l JOIN pg_roles r ON r.rolname = l.role_name
    WHERE l.role_name = login.name AND r.rolcanlogin AND NOT r.rolsuper AND NOT r.rolreplication
      AND (r.rolvaliduntil IS NULL OR r.rolvaliduntil > now())
$function$;

CREATE OR REPLACE FUNCTION herdsman.drop_foreign_key(table_name text, name text) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
  leaf record;
  dropped int := 0;
BEGIN
  DELETE FROM herdsman.foreign_keys k
    WHERE k.table_name = drop_foreign_key.table_name AND k.name = drop_foreign_key.name;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'no foreign key "%" is recorded for table "%"', drop_foreign_key.name, drop_foreign_key.table_name
      USING ERRCODE = 'undefined_object', HINT = 'SELECT table_name, name FROM herdsman.foreign_keys';
  END IF;
  FOR leaf IN
    SELECT c.conrelid::regclass AS relation FROM pg_constraint c
      WHERE c.contype = 'f' AND c.conname = drop_foreign_key.name AND c.conparentid = 0 AND c.conrelid IN (
        SELECT t.relid FROM pg_partition_tree(format('public.%I', drop_foreign_key.table_name)::regclass) t
      )
  LOOP
    EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', leaf.relation, drop_foreign_key.name);
    dropped := dropped + 1;
  END LOOP;
  RETURN dropped;
END
$function$;
`;

/** Name of the roles and text of the DDL, as one checksum. */
function checksumOf(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/**
 * Brings the schemas `herdsman` and `own` up to this version, in the application database, as the operator. Answers whether
 * anything was done; two operators at once do it one after the other.
 */
export async function ensureSchema(connection: Connection, roles: SchemaRoles): Promise<boolean> {
  const text = definition(roles);
  const checksum = checksumOf(text);
  if ((await installedVersion(connection)) === checksum) return false;
  return connection.transaction(async () => {
    await connection.query({
      text: "SET LOCAL client_min_messages = warning; SET LOCAL lock_timeout = '5s'",
    });
    await connection.query({ text: "SELECT pg_advisory_xact_lock(hashtextextended('herdsman.schema', 0))" });
    if ((await installedVersion(connection)) === checksum) return false;
    await connection.query({ text });
    await connection.query({ text: 'DELETE FROM herdsman.schema_version' });
    await connection.query(statement('INSERT INTO herdsman.schema_version VALUES ($1)', checksum));
    return true;
  });
}

async function installedVersion(connection: Connection): Promise<string | undefined> {
  const [there] = await connection.query<{ there: boolean }>({
    text: "SELECT to_regclass('herdsman.schema_version') IS NOT NULL AS there",
  });
  if (there?.there !== true) return undefined;
  const rows = await connection.query<{ checksum: string }>({
    text: 'SELECT checksum FROM herdsman.schema_version',
  });
  return rows[0]?.checksum;
}
