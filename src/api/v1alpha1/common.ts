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

/** A Kubernetes quantity such as `500m`, `2Gi` or `1`. */
export const quantity = z
  .string()
  .max(32)
  .regex(/^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi)?$/);

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

/** `metav1.Condition`. */
export const condition = z
  .object({
    type: z.string().max(316),
    status: z.enum(['True', 'False', 'Unknown']),
    reason: z.string().min(1).max(1024),
    message: z.string().max(32768),
    lastTransitionTime: z.string().meta({ format: 'date-time' }),
    observedGeneration: z.int().min(0).optional(),
  })
  .describe('One aspect of the current state.');

/** The conditions list every kind carries in its status. */
export const conditions = z
  .array(condition)
  .meta({ 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['type'] })
  .describe('Ready, Progressing, Degraded and further aspects, in the standard form.');

/** CPU and memory of one container, as in a pod. */
export const resources = z
  .object({
    requests: z.object({ cpu: quantity.optional(), memory: quantity.optional() }).optional(),
    limits: z.object({ cpu: quantity.optional(), memory: quantity.optional() }).optional(),
  })
  .describe('CPU and memory of each member. Tuning reads the memory limit, then the request.');
