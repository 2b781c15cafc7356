import type { Group, GroupTable, Layout, Strategy } from './layout.ts';
import type { Problem } from './problem.ts';
import type { CatalogTable, ShardCatalog } from './shard-catalog.ts';

const partitioning: Readonly<Record<Strategy, 'hash' | 'list' | 'range'>> = {
  hash: 'hash',
  range: 'range',
  geographic: 'list',
  directory: 'list',
};

/** Where the tables that the migrations made and `spec.tables` disagree. */
export function verifyTables(layout: Layout, catalog: ShardCatalog): Problem[] {
  const groups = layout.groups.flatMap((group) => verifyGroup(group, catalog));
  return [...groups, ...layout.references.flatMap((name) => verifyReference(name, catalog))];
}

/** The tables of a group that are not partitioned yet. */
export function plainTables(group: Group, catalog: Pick<ShardCatalog, 'tables'>): string[] {
  return group.tables
    .map(({ name }) => name)
    .filter((name) =>
      catalog.tables.some((found) => found.name === name && !found.partitioned && found.parent === null),
    );
}

/** Where the tables of one group disagree with it. */
export function verifyGroup(group: Group, catalog: ShardCatalog): Problem[] {
  const problems = group.tables.flatMap((table) => verifyTable(group, table, catalog));
  return problems.length > 0 ? problems : verifyTypes(group, catalog);
}

function verifyTable(group: Group, table: GroupTable, catalog: ShardCatalog): Problem[] {
  const found = catalog.tables.find((candidate) => candidate.name === table.name);
  if (found === undefined) return [missing(table.name)];
  const method = partitioning[group.strategy].toUpperCase();
  const clause = `PARTITION BY ${method} (${table.key})`;
  // A plain table is converted, if it can be.
  if (!found.partitioned && found.parent === null) return verifyPrimaryKey(group, table, found);
  if (found.parent !== null) {
    const message = `table "${table.name}" is a partition of "${found.parent}": name the parent in spec.tables instead`;
    return [{ code: 'is-a-partition', message }];
  }
  if (found.strategy !== partitioning[group.strategy]) {
    return [
      {
        code: 'wrong-strategy',
        message:
          `table "${table.name}" is partitioned by ${(found.strategy ?? '').toUpperCase()}, and strategy ${group.strategy} ` +
          `needs ${method}: write "${clause}" in its migration, or another strategy in spec.tables`,
      },
    ];
  }
  if (found.key.length !== 1 || found.key[0] !== table.key) {
    return [
      {
        code: 'wrong-key',
        message:
          `table "${table.name}" is partitioned by (${found.key.map((name) => name || 'an expression').join(', ')}), and ` +
          `spec.tables says key "${table.key}": write "${clause}" in its migration, or the other key in spec.tables`,
      },
    ];
  }
  return verifyPrimaryKey(group, table, found);
}

function verifyPrimaryKey(group: Group, table: GroupTable, found: CatalogTable): Problem[] {
  const divided = group.regions.some((region) => (region.buckets ?? 1) > 1);
  const needed = [table.key, ...(divided && table.hashKey !== undefined ? [table.hashKey] : [])];
  if (found.primaryKey.length === 0) {
    const example = `PRIMARY KEY (${needed.join(', ')}, …)`;
    const message = `table "${table.name}" has no primary key: write "${example}", since a bucket is moved by it`;
    return [{ code: 'no-primary-key', message }];
  }
  return needed
    .filter((column) => !found.primaryKey.includes(column))
    .map((column) => ({
      code: 'key-not-in-primary-key',
      message:
        `key "${column}" of table "${table.name}" is not in its primary key (${found.primaryKey.join(', ')}): write ` +
        `"PRIMARY KEY (${[...needed, ...found.primaryKey.filter((name) => !needed.includes(name))].join(', ')})"`,
    }));
}

/** Tables of one group need keys of one type, else one key value would be in different buckets. */
function verifyTypes(group: Group, catalog: ShardCatalog): Problem[] {
  const plain = plainTables(group, catalog);
  const types = group.tables
    .filter((table) => !plain.includes(table.name))
    .map((table) => ({
      table: table.name,
      type: catalog.tables.find((candidate) => candidate.name === table.name)?.keyTypes[0] ?? '',
    }));
  const first = types[0];
  return types
    .filter((other) => first !== undefined && other.type !== first.type)
    .map((other) => ({
      code: 'key-types-differ',
      message:
        `group "${group.name}": the key of "${first?.table}" is ${first?.type} and that of "${other.table}" is ` +
        `${other.type}: give both one type, else one key value falls into different buckets`,
    }));
}

function verifyReference(name: string, catalog: ShardCatalog): Problem[] {
  const found = catalog.tables.find((candidate) => candidate.name === name);
  if (found === undefined) return [missing(name)];
  if (found.partitioned || found.parent !== null) {
    const message = `reference table "${name}" is partitioned: leave out PARTITION BY, or give it another strategy`;
    return [{ code: 'reference-partitioned', message }];
  }
  if (found.primaryKey.length > 0) return [];
  const message = `reference table "${name}" has no primary key: write "PRIMARY KEY (…)"`;
  return [{ code: 'no-primary-key', message }];
}

function missing(name: string): Problem {
  return {
    code: 'table-missing',
    message: `table "${name}" of spec.tables does not exist: add a migration to spec.schema that creates it`,
  };
}
