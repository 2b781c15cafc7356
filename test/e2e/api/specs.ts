/** Part of a ShardedCluster's spec. */
export type Spec = Readonly<Record<string, unknown>>;

/** A spec that the API server must refuse, and what it must say. */
export interface BadSpec {
  readonly what: string;
  readonly spec: Spec;
  readonly says: string;
}

/** A spec that was accepted, a change of it that must be refused, and what the API server must say. */
export interface BadChange extends BadSpec {
  readonly before: Spec;
}

/** The least that a ShardedCluster needs. */
export const minimal: Spec = { storage: { size: '1Gi' } };

/** An entry of spec.tables, hash-distributed unless fields say otherwise. */
export function table(fields: Spec): Spec {
  return { name: 'orders', key: 'customer_id', strategy: 'hash', ...fields };
}

/** The least spec with these tables. */
export function tables(...entries: readonly Spec[]): Spec {
  return { ...minimal, tables: entries };
}

/** A spec with one range-distributed table. */
export function ranges(bounds: readonly Spec[], fields: Spec = {}): Spec {
  return tables(table({ strategy: 'range', bounds, ...fields }));
}

/** A spec with one geographic table. */
export function regions(list: readonly Spec[], fields: Spec = {}, shards: Spec = { count: 2 }): Spec {
  return { ...tables(table({ strategy: 'geographic', regions: list, ...fields })), shards };
}

/** A spec with one directory table. */
export function directory(tenants: readonly Spec[], fields: Spec = {}): Spec {
  return tables(table({ strategy: 'directory', tenants, ...fields }));
}

/** A spec with these PostgreSQL parameters. */
export function parameters(values: Spec): Spec {
  return { ...minimal, postgres: { parameters: values } };
}

/** A spec whose number of shards the operator chooses. */
export function autoscaled(fields: Spec): Spec {
  const autoscaling = { maxShards: 4, metrics: [{ type: 'CPU', target: 60 }], ...fields };
  return { ...minimal, shards: { count: 2, autoscaling } };
}
