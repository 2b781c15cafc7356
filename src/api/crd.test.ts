import { describe, expect, test } from 'vitest';
import { parameterProblems } from '../resources/sharded-cluster/desired/parameters.ts';
import { customResourceDefinition } from './crd.ts';
import { kinds } from './kinds.ts';
import type { JsonSchema } from './structural.ts';
import type { CelRule } from './v1alpha1/common.ts';
import { managedParameters, parameterMinimums } from './v1alpha1/parameters.ts';
import { shardedClusterSpec } from './v1alpha1/sharded-cluster.ts';

interface Field {
  readonly path: string;
  readonly schema: JsonSchema;
}

/** Every field of a schema, at any depth. */
function fields(schema: JsonSchema, path = ''): Field[] {
  const properties = Object.entries(schema.properties ?? {}).flatMap(([name, property]) => [
    { path: `${path}.${name}`, schema: property },
    ...fields(property, `${path}.${name}`),
  ]);
  const items = schema.items ? fields(schema.items, `${path}[]`) : [];
  const values =
    typeof schema.additionalProperties === 'object' ? fields(schema.additionalProperties, `${path}.*`) : [];
  return [...properties, ...items, ...values];
}

/** What the API server does: missing fields get their defaults, at every depth that is there. */
function withDefaults(schema: JsonSchema, value: unknown): unknown {
  if (Array.isArray(value)) return value.map((item) => withDefaults(schema.items ?? {}, item));
  if (typeof value !== 'object' || value === null) return value;
  const filled: Record<string, unknown> = { ...value };
  for (const [name, property] of Object.entries(schema.properties ?? {})) {
    if (filled[name] === undefined && property.default !== undefined) filled[name] = property.default;
    if (filled[name] !== undefined) filled[name] = withDefaults(property, filled[name]);
  }
  return filled;
}

function schemaOf(kind: string): JsonSchema {
  const found = kinds.find((candidate) => candidate.kind === kind);
  if (!found) throw new Error(`no kind ${kind}`);
  return customResourceDefinition(found).spec.versions[0]?.schema.openAPIV3Schema ?? {};
}

describe.each(kinds)('the CRD of $kind', (kind) => {
  const definition = customResourceDefinition(kind);
  const schema = schemaOf(kind.kind);

  test('describes every field', () => {
    const silent = fields(schema).filter(
      ({ path, schema: field }) => path !== '.metadata' && (field.description ?? '') === '',
    );
    expect(silent.map(({ path }) => path)).toEqual([]);
  });

  test('bounds every list, map and text of the spec, so that rules stay within their budget', () => {
    const spec = fields(schema).filter(({ path }) => path.startsWith('.spec'));
    const unbounded = spec.filter(({ schema: field }) => {
      if (field.type === 'array') return field.maxItems === undefined;
      if (field.type === 'string') return field.maxLength === undefined && field.enum === undefined;
      return field.additionalProperties !== undefined && field.maxProperties === undefined;
    });
    expect(unbounded.map(({ path }) => path)).toEqual([]);
  });

  test('replaces every map of the status as a whole, so that it may lose its last key', () => {
    const maps = fields(schema).filter(
      ({ path, schema: field }) => path.startsWith('.status') && field.additionalProperties !== undefined,
    );
    const merged = maps.filter(({ schema: field }) => field['x-kubernetes-map-type'] !== 'atomic');
    expect(merged.map(({ path }) => path)).toEqual([]);
  });

  test('has a message for every rule', () => {
    const rules = [schema, ...fields(schema).map((field) => field.schema)].flatMap(
      (field) => (field['x-kubernetes-validations'] ?? []) as { message?: string; rule: string }[],
    );
    expect(rules.filter(({ message }) => message === undefined || message.includes('\n'))).toEqual([]);
  });

  test('has columns that read fields which exist', () => {
    const paths = new Set(fields(schema).map(({ path }) => path));
    for (const { jsonPath } of kind.columns) {
      const path = jsonPath.replaceAll(/\[(\*|\?\(.*?\))\]/g, '[]');
      expect(paths.has(path) || path === '.metadata.creationTimestamp', path).toBe(true);
    }
  });

  test('is scaled by fields that exist', () => {
    const paths = fields(schema).map(({ path }) => path);
    for (const path of Object.values(kind.scale ?? {})) expect(paths).toContain(path);
  });

  test('is shown with the others of the category herdsman', () => {
    expect(definition.spec.names.categories).toEqual(['herdsman']);
  });
});

describe('defaults', () => {
  test.each([
    { spec: { storage: { size: '1Gi' } } },
    { spec: { storage: { size: '1Gi' }, postgres: { parameters: { work_mem: '8MB' } }, tls: {} } },
    {
      spec: {
        storage: { size: '1Gi' },
        schema: [{ name: 'one', sql: 'SELECT 1' }],
        tables: [{ name: 'orders', strategy: 'hash', key: 'id' }],
        shards: { count: 2, zones: ['a', 'b'] },
      },
    },
  ])('of the CRD and of zod are the same for $spec', ({ spec }) => {
    const stored = withDefaults(schemaOf('ShardedCluster').properties?.spec ?? {}, spec);
    expect(stored).toEqual(shardedClusterSpec.parse(spec));
    expect(shardedClusterSpec.parse(stored)).toEqual(stored);
  });

  test('a quantity given as a number is its text', () => {
    expect(shardedClusterSpec.parse({ storage: { size: 1024 } }).storage.size).toBe('1024');
  });
});

describe('parameters', () => {
  test('that admission accepts are used, and those that the operator would not use are refused', () => {
    for (const [name, minimum] of Object.entries(parameterMinimums)) {
      expect(parameterProblems({ [name]: String(minimum) }), name).toEqual([]);
      expect(parameterProblems({ [name]: String(minimum - 1) }), name).toHaveLength(1);
    }
    expect(parameterProblems({ work_mem: '8MB', 'auto_explain.log_min_duration': '1s' })).toEqual([]);
    for (const name of Object.keys(managedParameters)) {
      expect(parameterProblems({ [name]: 'x' }), name).toHaveLength(1);
    }
  });

  test.each([
    ['ShardedCluster', 'synchronous_standby_names', 'use spec.durability'],
    ['ReadReplicaSet', 'synchronous_standby_names', 'spec.durability of the ShardedCluster'],
    ['ReadReplicaSet', 'recovery_min_apply_delay', 'spec.applyDelay of the ReadReplicaSet'],
    ['ReadReplicaSet', 'ssl_cert_file', 'use spec.tls of the ShardedCluster'],
  ])('of a %s that are refused name what to write instead of %s', (kind, parameter, instead) => {
    const rules = fields(schemaOf(kind))
      .filter(({ path }) => path.endsWith('.parameters'))
      .flatMap(({ schema }) => (schema['x-kubernetes-validations'] ?? []) as CelRule[])
      .filter(({ rule }) => rule.startsWith(`!('${parameter}' in self)`));
    expect(rules).toHaveLength(1);
    expect(rules[0]?.message).toContain(instead);
  });
});
