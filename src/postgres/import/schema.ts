/** SQLSTATE with which a table refuses writes while it is brought in, and at the other server after it. */
export const movedState = 'HD004';
/** Trigger by which the tables of the shard refuse writes until the cluster takes over. */
export const guardTrigger = 'herdsman_import';

/**
 * What an import keeps in the database of the shard that gets the rows: its row is changed in the same transaction as what it
 * tells of, so that after any crash it is true.
 */
export const importTables = `
CREATE TABLE IF NOT EXISTS herdsman.imports (
  name text PRIMARY KEY,
  phase text NOT NULL,
  tables text[] NOT NULL,
  source jsonb NOT NULL,
  connection text,
  subscription bigint,
  attempt int NOT NULL DEFAULT 1,
  started_at timestamptz,
  fenced_at timestamptz,
  fence_lsn pg_lsn,
  switched_at timestamptz,
  failure text
);
CREATE OR REPLACE FUNCTION herdsman.refuse_import() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
  BEGIN
    RAISE EXCEPTION 'table "%" is being brought in from another server, which still takes its writes', TG_TABLE_NAME
      USING ERRCODE = '${movedState}', HINT = 'See status.import of the ShardedCluster.';
  END $function$;
`;
