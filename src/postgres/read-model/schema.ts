import { createHash } from 'node:crypto';
import type { Connection } from '../connection.ts';

/** First key of the advisory locks by which a stream that waits is known; the second says what for. */
export const waitsForMigration = 4801;
/** The same for what ends a copy: one shard alone has emptied a table. */
export const wasTruncated = 4802;

/** What the operator needs of a superuser's in the database of a read model: how far the streams have come. */
export const grantedFunction = 'pg_replication_origin_progress(text, boolean)';

/** How long a stream waits inside of a transaction before it starts again: its source hears nothing meanwhile. */
const patience = '5 seconds';

/**
 * What a read model keeps beside its tables. Streams wait in triggers that only they fire:
 * - at a migration, until the model has applied it: each shard writes the ledger first in the migration's transaction, so
 *   that everything before is applied with the tables as they were, and everything after as they are;
 * - at a sentinel that a move has brought from another shard, until it has come from that shard itself: what a bucket's new
 *   owner says is never applied before all that the old one said.
 */
const definition = `
CREATE TABLE IF NOT EXISTS herdsman.read_model (
  single boolean PRIMARY KEY DEFAULT true CHECK (single),
  copy text NOT NULL,
  definition text NOT NULL,
  buckets jsonb NOT NULL,
  live boolean NOT NULL DEFAULT false,
  began timestamptz NOT NULL DEFAULT pg_catalog.now()
);
CREATE TABLE IF NOT EXISTS herdsman.read_streams (
  shard text PRIMARY KEY,
  source text NOT NULL,
  timeline int NOT NULL
);
CREATE TABLE IF NOT EXISTS herdsman.passed_sentinels (
  id text NOT NULL,
  token text NOT NULL,
  at timestamptz NOT NULL DEFAULT pg_catalog.now(),
  PRIMARY KEY (id, token)
);

CREATE OR REPLACE FUNCTION herdsman.copies_table() RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
  SELECT EXISTS (SELECT FROM pg_stat_subscription s
    WHERE s.pid = pg_backend_pid() AND s.worker_type = 'table synchronization')
$function$;

CREATE OR REPLACE FUNCTION herdsman.await_migration() RETURNS trigger
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
  until timestamptz := clock_timestamp() + interval '${patience}';
BEGIN
  IF herdsman.copies_table() THEN RETURN NULL; END IF;
  PERFORM pg_advisory_xact_lock_shared(${waitsForMigration}, NEW.position);
  LOOP
    PERFORM FROM herdsman.migrations m WHERE m.name = NEW.name;
    EXIT WHEN FOUND;
    IF clock_timestamp() > until THEN
      RAISE EXCEPTION 'the stream waits until the read model has applied migration "%"', NEW.name USING ERRCODE = 'HD003';
    END IF;
    PERFORM pg_sleep(0.02);
  END LOOP;
  RETURN NULL;
END
$function$;
CREATE OR REPLACE TRIGGER await BEFORE INSERT ON herdsman.migrations
  FOR EACH ROW EXECUTE FUNCTION herdsman.await_migration();
ALTER TABLE herdsman.migrations ENABLE REPLICA TRIGGER await;

CREATE OR REPLACE FUNCTION herdsman.await_sentinel() RETURNS trigger
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
  until timestamptz := clock_timestamp() + interval '${patience}';
BEGIN
  IF NOT NEW.arrived THEN
    DELETE FROM herdsman.passed_sentinels p WHERE p.at < now() - interval '30 days';
    INSERT INTO herdsman.passed_sentinels (id, token) VALUES (NEW.id, NEW.token) ON CONFLICT DO NOTHING;
    RETURN NULL;
  END IF;
  IF herdsman.copies_table() THEN RETURN NULL; END IF;
  LOOP
    PERFORM FROM herdsman.passed_sentinels p WHERE p.id = NEW.id AND p.token = NEW.token;
    EXIT WHEN FOUND;
    IF clock_timestamp() > until THEN
      RAISE EXCEPTION 'the stream waits for the shard that move % comes from', NEW.id USING ERRCODE = 'HD003';
    END IF;
    PERFORM pg_sleep(0.002);
  END LOOP;
  RETURN NULL;
END
$function$;
CREATE OR REPLACE TRIGGER await BEFORE INSERT ON herdsman.move_sentinels
  FOR EACH ROW EXECUTE FUNCTION herdsman.await_sentinel();
ALTER TABLE herdsman.move_sentinels ENABLE REPLICA TRIGGER await;

CREATE OR REPLACE FUNCTION herdsman.refuse_write() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
  -- What a migration does to rows comes with the streams.
  IF current_setting('herdsman.migrating', true) = 'on' THEN RETURN NULL; END IF;
  RAISE EXCEPTION 'table "%" is a copy of the cluster''s: write there', TG_TABLE_NAME
    USING ERRCODE = 'read_only_sql_transaction';
END
$function$;

CREATE OR REPLACE FUNCTION herdsman.refuse_truncate() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
  PERFORM pg_advisory_xact_lock_shared(${wasTruncated}, 0);
  PERFORM pg_sleep(5);
  RAISE EXCEPTION 'one shard has emptied table "%", and the rows of the others stay: it is copied again', TG_TABLE_NAME
    USING ERRCODE = 'HD003';
END
$function$;

CREATE OR REPLACE FUNCTION herdsman.drop_foreign_key(table_name text, name text) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
  EXECUTE format('ALTER TABLE public.%I DROP CONSTRAINT %I', table_name, name);
  RETURN 1;
END
$function$;
`;

const checksum = createHash('sha256').update(definition).digest('hex');

/** Makes what a read model keeps in its schema `herdsman`, after `ensureSchema`, as the operator; nothing when it is there. */
export async function ensureModelSchema(connection: Connection): Promise<void> {
  const [row] = await connection.query<{ there: string | null }>({
    text: "SELECT obj_description(to_regclass('herdsman.read_model'), 'pg_class') AS there",
  });
  if (row?.there === checksum) return;
  await connection.transaction(() =>
    connection.query({ text: `${definition}; COMMENT ON TABLE herdsman.read_model IS '${checksum}'` }),
  );
}
