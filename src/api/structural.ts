import { z } from 'zod';

/** A JSON schema as `z.toJSONSchema` writes it, or as Kubernetes stores it. */
export interface JsonSchema {
  readonly type?: string;
  readonly description?: string;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly items?: JsonSchema;
  readonly additionalProperties?: JsonSchema | boolean;
  readonly default?: unknown;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly [keyword: string]: unknown;
}

/** Keywords that a structural schema and zod's output share, in the order in which they are written. */
const copied = [
  'description',
  'type',
  'format',
  'enum',
  'default',
  'minLength',
  'maxLength',
  'pattern',
  'minItems',
  'maxItems',
  'maxProperties',
  'required',
] as const;

/** Numbers that zod writes for every integer; they say nothing that `type: integer` does not. */
const wholeNumberLimits: readonly unknown[] = [Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER];

function limits(schema: JsonSchema): JsonSchema {
  const found: Record<string, number> = {};
  for (const limit of ['minimum', 'maximum'] as const) {
    const value = schema[limit];
    if (value !== undefined && !wholeNumberLimits.includes(value)) found[limit] = value;
  }
  if (schema.type !== 'integer') return found;
  const small = found.maximum !== undefined && found.maximum < 2 ** 31;
  return { format: small ? 'int32' : 'int64', ...found };
}

/** Rewrites one JSON schema, and all that is in it, as a structural schema; throws at what Kubernetes cannot store. */
export function toStructural(schema: JsonSchema, path = ''): JsonSchema {
  const out: Record<string, unknown> = {};
  const intOrString = schema['x-kubernetes-int-or-string'] === true;
  if (typeof schema.type !== 'string' && !intOrString) {
    throw new Error(`${path || '.'}: a structural schema needs one type, not ${JSON.stringify(schema)}`);
  }
  for (const keyword of copied) {
    if (schema[keyword] !== undefined) out[keyword] = schema[keyword];
  }
  if (schema.const !== undefined) out.enum = [schema.const];
  if (Array.isArray(out.required) && out.required.length === 0) delete out.required;
  if (intOrString) out.anyOf = [{ type: 'integer' }, { type: 'string' }];
  Object.assign(out, limits(schema));
  for (const [keyword, value] of Object.entries(schema)) {
    if (keyword.startsWith('x-kubernetes-')) out[keyword] = value;
  }
  if (schema.items) out.items = toStructural(schema.items, `${path}[]`);
  if (schema.properties) {
    const entries = Object.entries(schema.properties).toSorted(([a], [b]) => (a < b ? -1 : 1));
    out.properties = Object.fromEntries(
      entries.map(([name, property]) => [name, toStructural(property, `${path}.${name}`)]),
    );
  }
  if (typeof schema.additionalProperties === 'object') {
    out.additionalProperties = toStructural(schema.additionalProperties, `${path}.*`);
  }
  return out;
}

/** The structural schema of what a zod schema accepts, with every default that the API server shall fill in. */
export function structuralSchema(schema: z.ZodType): JsonSchema {
  return toStructural(z.toJSONSchema(schema, { io: 'input' }) as JsonSchema);
}
