/**
 * `herdsman.locate(group, key [, hash_key])`: the bucket of a key and where it is, for clients that have only SQL. Hash
 * buckets are found by PostgreSQL's own routing function, ranges and lists by comparison in the key's own type and
 * collation, so that the answer is the partition that PostgreSQL would choose. The forms for any type hand the key on as
 * text; a literal without a type is text already.
 */
export const locateFunctions = `
CREATE OR REPLACE FUNCTION herdsman.locate_text(group_name text, key text, hash_key text)
RETURNS TABLE (bucket int, shard text, host text, port int, dbname text, epoch bigint)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
#variable_conflict use_column
DECLARE
  layout record;
  column_type text;
  collation_clause text;
  hash_type text;
  region text;
  divided boolean;
  hashed text;
  condition text;
BEGIN
  SELECT t.table_name, t.strategy, t.key_column, t.hash_column INTO layout FROM herdsman.tables t
    WHERE t.group_name = locate_text.group_name ORDER BY t.table_name LIMIT 1;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no group "%"', locate_text.group_name USING ERRCODE = 'undefined_object',
      HINT = 'SELECT DISTINCT group_name FROM herdsman.tables';
  END IF;
  IF locate_text.key IS NULL THEN
    RETURN;
  END IF;
  SELECT format_type(a.atttypid, -1),
      CASE WHEN a.attcollation = 0 THEN '' ELSE format(' COLLATE %I.%I', n.nspname, c.collname) END
    INTO column_type, collation_clause
    FROM pg_attribute a LEFT JOIN pg_collation c ON c.oid = a.attcollation LEFT JOIN pg_namespace n ON n.oid = c.collnamespace
    WHERE a.attrelid = format('public.%I', layout.table_name)::regclass AND a.attname = layout.key_column;

  IF layout.strategy = 'hash' THEN
    hashed := layout.table_name;
    hash_type := column_type;
    condition := 'true';
  ELSIF layout.strategy = 'range' THEN
    condition := format(
      '(NOT m.is_default AND (m.range_from IS NULL OR m.range_from::%1$s%2$s <= $2::%1$s)
        AND (m.range_to IS NULL OR $2::%1$s < m.range_to::%1$s%2$s))', column_type, collation_clause);
  ELSE
    condition := format('(m.list_values IS NOT NULL AND $2::%1$s = ANY (m.list_values::%1$s[]))', column_type);
  END IF;

  IF layout.strategy IN ('geographic', 'directory') THEN
    EXECUTE format('SELECT m.region, m.modulus IS NOT NULL FROM herdsman.shard_map m WHERE m.group_name = $1 AND %s LIMIT 1', condition)
      INTO region, divided USING locate_text.group_name, locate_text.key;
    IF divided THEN
      IF locate_text.hash_key IS NULL THEN
        RAISE EXCEPTION 'region "%" of group "%" has several buckets', region, locate_text.group_name
          USING ERRCODE = 'invalid_parameter_value', HINT = format('Give the value of column %I as the third argument.', layout.hash_column);
      END IF;
      hashed := layout.table_name || '_r_' || region;
      SELECT format_type(a.atttypid, -1) INTO hash_type FROM pg_attribute a
        WHERE a.attrelid = format('public.%I', layout.table_name)::regclass AND a.attname = layout.hash_column;
      condition := format('m.region = %L', region);
    ELSIF divided IS NULL AND layout.strategy = 'directory' THEN
      hashed := layout.table_name || '_default';
      hash_type := column_type;
      condition := 'm.is_default';
    END IF;
  END IF;

  IF hashed IS NOT NULL THEN
    condition := condition || format(' AND satisfies_hash_partition(%L::regclass, m.modulus, m.remainder, $3::%s)',
      format('public.%I', hashed), hash_type);
  END IF;
  RETURN QUERY EXECUTE format(
    'SELECT m.bucket, m.shard, m.host, m.port, m.dbname, m.epoch FROM herdsman.shard_map m WHERE m.group_name = $1 AND %s', condition)
    USING locate_text.group_name, locate_text.key,
      CASE WHEN layout.strategy = 'geographic' THEN locate_text.hash_key ELSE locate_text.key END;
  IF NOT FOUND AND layout.strategy = 'range' THEN
    RETURN QUERY SELECT m.bucket, m.shard, m.host, m.port, m.dbname, m.epoch FROM herdsman.shard_map m
      WHERE m.group_name = locate_text.group_name AND m.is_default;
  END IF;
END
$function$;

CREATE OR REPLACE FUNCTION herdsman.locate(group_name text, key text)
RETURNS TABLE (bucket int, shard text, host text, port int, dbname text, epoch bigint)
LANGUAGE sql STABLE AS $function$
  SELECT * FROM herdsman.locate_text($1, $2, NULL::pg_catalog.text)
$function$;

CREATE OR REPLACE FUNCTION herdsman.locate(group_name text, key anyelement)
RETURNS TABLE (bucket int, shard text, host text, port int, dbname text, epoch bigint)
LANGUAGE sql STABLE AS $function$
  SELECT * FROM herdsman.locate_text($1, $2::pg_catalog.text, NULL::pg_catalog.text)
$function$;

CREATE OR REPLACE FUNCTION herdsman.locate(group_name text, key text, hash_key text)
RETURNS TABLE (bucket int, shard text, host text, port int, dbname text, epoch bigint)
LANGUAGE sql STABLE AS $function$
  SELECT * FROM herdsman.locate_text($1, $2, $3)
$function$;

CREATE OR REPLACE FUNCTION herdsman.locate(group_name text, key text, hash_key anyelement)
RETURNS TABLE (bucket int, shard text, host text, port int, dbname text, epoch bigint)
LANGUAGE sql STABLE AS $function$
  SELECT * FROM herdsman.locate_text($1, $2, $3::pg_catalog.text)
$function$;

CREATE OR REPLACE FUNCTION herdsman.locate(group_name text, key anyelement, hash_key text)
RETURNS TABLE (bucket int, shard text, host text, port int, dbname text, epoch bigint)
LANGUAGE sql STABLE AS $function$
  SELECT * FROM herdsman.locate_text($1, $2::pg_catalog.text, $3)
$function$;

CREATE OR REPLACE FUNCTION herdsman.locate(group_name text, key anyelement, hash_key anycompatible)
RETURNS TABLE (bucket int, shard text, host text, port int, dbname text, epoch bigint)
LANGUAGE sql STABLE AS $function$
  SELECT * FROM herdsman.locate_text($1, $2::pg_catalog.text, $3::pg_catalog.text)
$function$;
`;
