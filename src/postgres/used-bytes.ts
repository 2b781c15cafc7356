/** SQL: what the server has on its volume, all databases and WAL. */
export const usedBytes =
  '((SELECT sum(pg_database_size(b.oid)) FROM pg_database b) + (SELECT sum(w.size) FROM pg_ls_waldir() w))::float8';
