/** Where the partitioned tables wait until they serve. */
export const newSchema = 'herdsman_new';
/** Where the plain tables are kept while the way back is open. */
export const oldSchema = 'herdsman_old';

/**
 * What conversions keep in a shard's database: `herdsman.conversions` has a row for each, changed in the same transaction as
 * what it tells of, so that after any crash it is true. (Keys of changed rows are in `herdsman.changes_<table>`.)
 */
export const conversionTables = `
CREATE TABLE IF NOT EXISTS herdsman.conversions (
  group_name text PRIMARY KEY,
  phase text NOT NULL,
  layout jsonb NOT NULL,
  tables jsonb NOT NULL DEFAULT '[]',
  kept jsonb NOT NULL DEFAULT '{}',
  epoch bigint,
  verified_at timestamptz,
  switched_at timestamptz,
  fence_ms float8
);
`;
