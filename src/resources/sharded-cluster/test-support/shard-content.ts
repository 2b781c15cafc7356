import type { ShardMapSpec } from '../../../api/v1alpha1/shard-map.ts';
import type { Group, Layout } from '../../../sharding/layout.ts';
import { bucketsOf } from '../../../sharding/map.ts';
import { type Endpoint, mirrorRow } from '../../../sharding/mirror.ts';
import {
  defaultName,
  hasPlace,
  leafName,
  leafParent,
  markerName,
  placeName,
  regionName,
} from '../../../sharding/names.ts';
import type {
  CatalogTable,
  DistributionRow,
  MirrorRow,
  ShardCatalog,
} from '../../../sharding/shard-catalog.ts';
import type { DatabaseFacts } from '../database-facts.ts';

/** The catalog of a database that is set up, and in which nothing was made yet. */
export const emptyCatalog: ShardCatalog = {
  installed: true,
  tables: [],
  foreignKeys: [],
  recordedKeys: [],
  sequences: [],
  markers: [],
  mirror: [],
  distribution: [],
  ledger: [],
  preparedTransactions: 0,
  moving: [],
  conversions: [],
};

/** What a primary says before its database is set up. */
export const newDatabase: DatabaseFacts = {
  member: '',
  isSetUp: false,
  catalog: undefined,
  stats: {
    inRecovery: false,
    timeline: 1,
    walLsn: '0/3000000',
    databaseBytes: 8_000_000,
    standbys: [],
    slots: [],
  },
  parameterProblems: [],
  runsWithParameters: true,
  fileErrors: [],
  boundProblems: [],
  tablesWithRows: [],
  otherDatabases: [],
  preparedTransactions: 0,
};

const ordinary: CatalogTable = {
  name: '',
  owner: 'app',
  partitioned: false,
  strategy: null,
  key: [],
  keyTypes: [],
  primaryKey: ['id'],
  parent: null,
  bound: null,
  checks: [],
  refuses: false,
};

/** A mirror of the map with a bucket on each of the shards named. */
export function mirrorOf(...names: readonly string[]): MirrorRow[] {
  return names.map((shard, bucket) => {
    const bound = { modulus: names.length, remainder: bucket, range_from: null, range_to: null };
    const rest = { region: null, list_values: null, is_default: false };
    const place = { shard, host: shard, port: 5432, dbname: 'app', epoch: 1 };
    return { group_name: 'orders', bucket, strategy: 'hash', ...place, ...bound, ...rest };
  });
}

/** The tables that a layout describes, as migrations make them. */
export function migratedTables(layout: Layout): CatalogTable[] {
  const parents = layout.groups.flatMap((group) =>
    group.tables.map((table): CatalogTable => {
      const { strategy } = group;
      return {
        ...ordinary,
        name: table.name,
        partitioned: true,
        strategy: strategy === 'hash' || strategy === 'range' ? strategy : 'list',
        key: [table.key],
        keyTypes: ['text'],
        primaryKey: [table.key, ...(table.hashKey === undefined ? [] : [table.hashKey])],
      };
    }),
  );
  return [...parents, ...layout.references.map((name): CatalogTable => ({ ...ordinary, name }))];
}

/** The catalog after all planned statements have run: leaves and markers of what the shard owns, and the mirror of the map. */
export function laidOut(
  shard: string,
  catalog: ShardCatalog,
  map: ShardMapSpec,
  layout: Layout,
  endpoints: Readonly<Record<string, Endpoint>>,
): ShardCatalog {
  const owned = bucketsOf(map, shard);
  const roots = new Map(layout.groups.map((group) => [group.name, group]));
  const leaves = owned.flatMap(({ group, bucket }) =>
    (roots.get(group.name)?.tables ?? []).map((table): CatalogTable => {
      const { hash } = bucket;
      return {
        ...ordinary,
        name: leafName(table.name, bucket.id),
        parent: leafParent(table.name, bucket, group),
        bound:
          hash === undefined
            ? 'FOR VALUES'
            : `FOR VALUES WITH (modulus ${hash.modulus}, remainder ${hash.remainder})`,
      };
    }),
  );
  const places = layout.groups.flatMap((group) => placesOf(group, map));
  const made = [...layout.groups.flatMap(between), ...places, ...leaves];
  const known = new Set(catalog.tables.map(({ name }) => name));
  return {
    ...catalog,
    tables: [...catalog.tables, ...made.filter(({ name }) => !known.has(name))],
    markers: owned.map(({ group, bucket }) => ({
      name: markerName(group.name, bucket.id),
      bucket: bucket.id,
      epoch: bucket.epoch,
    })),
    mirror: map.groups.flatMap((group) =>
      group.buckets.flatMap((bucket) => {
        const endpoint = endpoints[bucket.shard];
        return endpoint === undefined ? [] : [mirrorRow(group, bucket, endpoint)];
      }),
    ),
    distribution: distributionOf(layout),
  };
}

/** The partitioned tables between parents and leaves. */
function between(group: Group): CatalogTable[] {
  return group.tables.flatMap((table) => {
    const names =
      group.strategy === 'directory'
        ? [defaultName(table.name)]
        : group.regions
            .filter((region) => (region.buckets ?? 1) > 1)
            .map((region) => regionName(table.name, region.name));
    return names.map((name): CatalogTable => ({ ...ordinary, name, partitioned: true, parent: table.name }));
  });
}

/** The places of buckets beside a DEFAULT. */
function placesOf(group: Group, map: ShardMapSpec): CatalogTable[] {
  const buckets = map.groups.find(({ name }) => name === group.name)?.buckets ?? [];
  return buckets
    .filter((bucket) => hasPlace(bucket, { buckets }))
    .flatMap(({ id }) =>
      group.tables.map(
        (table): CatalogTable => ({
          ...ordinary,
          name: placeName(table.name, id),
          partitioned: true,
          parent: table.name,
        }),
      ),
    );
}

function distributionOf(layout: Layout): DistributionRow[] {
  const distributed = layout.groups.flatMap((group) =>
    group.tables.map((table): DistributionRow => {
      const isDivided = group.regions.some((region) => (region.buckets ?? 1) > 1);
      return {
        table_name: table.name,
        group_name: group.name,
        strategy: group.strategy,
        key_column: table.key,
        hash_column: isDivided ? (table.hashKey ?? null) : null,
      };
    }),
  );
  const whole = layout.references.map(
    (name): DistributionRow => ({
      table_name: name,
      group_name: null,
      strategy: 'reference',
      key_column: null,
      hash_column: null,
    }),
  );
  return [...distributed, ...whole];
}
