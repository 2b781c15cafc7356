import { z } from 'zod';

/** API group of every Herdsman kind. */
export const group = 'herdsman.dev';
/** Version of every Herdsman kind. */
export const version = 'v1alpha1';
/** `apiVersion` of every Herdsman kind. */
export const apiVersion = `${group}/${version}`;

/** A CEL rule as Kubernetes stores it in `x-kubernetes-validations`. */
export interface CelRule {
  readonly rule: string;
  readonly message?: string;
  readonly messageExpression?: string;
  readonly fieldPath?: string;
  readonly reason?:
    | 'FieldValueInvalid'
    | 'FieldValueForbidden'
    | 'FieldValueRequired'
    | 'FieldValueDuplicate';
  readonly optionalOldSelf?: boolean;
}

/** Attaches CEL rules to a schema; the CRD generator writes them out unchanged. */
export function cel(...rules: readonly CelRule[]): Record<string, unknown> {
  return { 'x-kubernetes-validations': rules };
}

/** Marks an array as a set: the API server refuses a value that is given twice. */
export const set: Record<string, unknown> = { 'x-kubernetes-list-type': 'set' };

/** Marks an array as a map by one field: the API server refuses a second item with the same value of it. */
export function keyedBy(field: string): Record<string, unknown> {
  return { 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': [field] };
}

/**
 * Marks a map as replaced as a whole: server-side apply would make null, which no schema admits, of a map that has lost its last
 * key. Every map of a status is.
 */
export const atomicMap: Record<string, unknown> = { 'x-kubernetes-map-type': 'atomic' };

/** A Kubernetes quantity such as `500m`, `2Gi` or `1`; a bare number is taken as its text. */
export const quantity = z
  .union([
    z.int().min(0),
    z
      .string()
      .max(32)
      .regex(/^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi)?$/),
  ])
  .meta({
    'x-kubernetes-int-or-string': true,
    maxLength: 32,
    pattern: '^[0-9]+(\\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi)?$',
  })
  .transform(String);

/** A duration such as `30s`, `10m`, `24h` or `7d`. */
export const duration = z
  .string()
  .max(16)
  .regex(/^[0-9]+(ms|s|m|h|d)$/);

/** An unquoted PostgreSQL identifier: lower case, at most `max` bytes. */
export function identifier(max = 63) {
  return z
    .string()
    .min(1)
    .max(max)
    .regex(/^[a-z_][a-z0-9_]*$/);
}

/** The name of an object such as a Secret or a ConfigMap. */
export const objectName = z
  .string()
  .min(1)
  .max(253)
  .regex(/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/);

/** Secrets with which images are pulled, as in a pod. */
export const imagePullSecrets = z
  .array(z.object({ name: objectName.describe('Name of a Secret of type kubernetes.io/dockerconfigjson.') }))
  .max(16)
  .meta(keyedBy('name'));

/** `metav1.Condition`. */
export const condition = z
  .object({
    type: z.string().max(316).describe('Name of the aspect, such as Ready.'),
    status: z.enum(['True', 'False', 'Unknown']).describe('Whether it holds.'),
    reason: z.string().min(1).max(1024).describe('Why, in one word for programs.'),
    message: z.string().max(32768).describe('Why, and what to do, for people.'),
    lastTransitionTime: z.string().meta({ format: 'date-time' }).describe('When the status last changed.'),
    observedGeneration: z
      .int()
      .min(0)
      .optional()
      .describe('metadata.generation of the spec that this was concluded from.'),
  })
  .describe('One aspect of the current state.');

/** The conditions list every kind carries in its status. */
export const conditions = z
  .array(condition)
  .max(32)
  .meta(keyedBy('type'))
  .describe('Ready, Progressing, Degraded and further aspects, in the standard form.');

function amounts(what: string) {
  return z
    .object({
      cpu: quantity.optional().describe('Processor time, such as 500m or 2.'),
      memory: quantity.optional().describe('Memory, such as 4Gi.'),
    })
    .optional()
    .describe(what);
}

function atMost(name: 'cpu' | 'memory') {
  const [request, limit] = [`self.requests.${name}`, `self.limits.${name}`];
  return {
    rule:
      `!has(self.requests) || !has(self.limits) || !has(${request}) || !has(${limit}) || ` +
      `quantity(string(${request})).compareTo(quantity(string(${limit}))) <= 0`,
    message: `requests.${name} is more than limits.${name}: lower the request or raise the limit`,
  };
}

/** CPU and memory of one container, as in a pod. */
export const resources = z
  .object({
    requests: amounts('What a node keeps free for the member.'),
    limits: amounts('What the member can use at most.'),
  })
  .describe('CPU and memory of each member. Tuning reads the memory limit, then the request.')
  .meta(cel(atMost('cpu'), atMost('memory')));
