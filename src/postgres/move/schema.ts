/**
 * What moves keep in each shard's database. `herdsman.moves` is the row in which a shard knows the move of a bucket: prepared
 * transactions hold it locked, and refuse to be made when it names another attempt. Rows of `herdsman.move_sentinels` travel
 * with the stream of a copy; one that says `hold` stops there while an operator has the advisory lock of its token, and
 * one that came from another shard says so (`arrived`).
 */
export const moveTables = `
CREATE TABLE IF NOT EXISTS herdsman.moves (
  group_name text NOT NULL,
  bucket int NOT NULL,
  move text NOT NULL,
  copy int NOT NULL,
  attempt int NOT NULL DEFAULT 0,
  armed boolean NOT NULL DEFAULT false,
  copying boolean NOT NULL DEFAULT false,
  copied boolean NOT NULL DEFAULT false,
  PRIMARY KEY (group_name, bucket)
);
ALTER TABLE herdsman.moves ADD COLUMN IF NOT EXISTS copied boolean NOT NULL DEFAULT false;
ALTER TABLE herdsman.moves ADD COLUMN IF NOT EXISTS shapes jsonb;
CREATE TABLE IF NOT EXISTS herdsman.move_sentinels (
  id text NOT NULL,
  token text NOT NULL,
  hold boolean NOT NULL DEFAULT false,
  PRIMARY KEY (id, token)
);
ALTER TABLE herdsman.move_sentinels ADD COLUMN IF NOT EXISTS arrived boolean NOT NULL DEFAULT false;
CREATE OR REPLACE FUNCTION herdsman.hold_sentinel() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
  -- Read models follow both shards, and wait at what has come from another one until they have that from there.
  NEW.arrived := current_setting('session_replication_role') = 'replica';
  IF NEW.hold THEN
    PERFORM pg_advisory_xact_lock(hashtextextended('herdsman.move.' || NEW.id || '.' || NEW.token, 0));
  END IF;
  RETURN NEW;
END
$function$;
CREATE OR REPLACE TRIGGER hold BEFORE INSERT ON herdsman.move_sentinels
  FOR EACH ROW EXECUTE FUNCTION herdsman.hold_sentinel();
-- Also in a session that applies changes of another server.
ALTER TABLE herdsman.move_sentinels ENABLE ALWAYS TRIGGER hold;
`;
