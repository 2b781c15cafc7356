import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { structuralSchema, toStructural } from './structural.ts';
import { quantity } from './v1alpha1/common.ts';

describe('a structural schema', () => {
  test.each([
    { zod: z.string().min(1).max(5), structural: { type: 'string', minLength: 1, maxLength: 5 } },
    { zod: z.string().regex(/^a$/), structural: { type: 'string', pattern: '^a$' } },
    { zod: z.boolean().default(true), structural: { type: 'boolean', default: true } },
    { zod: z.int(), structural: { type: 'integer', format: 'int64' } },
    { zod: z.int().min(0), structural: { type: 'integer', format: 'int64', minimum: 0 } },
    { zod: z.int().min(1).max(9), structural: { type: 'integer', format: 'int32', minimum: 1, maximum: 9 } },
    { zod: z.enum(['a', 'b']), structural: { type: 'string', enum: ['a', 'b'] } },
    { zod: z.literal('a'), structural: { type: 'string', enum: ['a'] } },
    {
      zod: z.array(z.string()).max(3),
      structural: { type: 'array', maxItems: 3, items: { type: 'string' } },
    },
    {
      zod: z.record(z.string().max(3), z.string()).meta({ maxProperties: 2 }),
      structural: { type: 'object', maxProperties: 2, additionalProperties: { type: 'string' } },
    },
    {
      zod: z.object({ b: z.string(), a: z.string().optional() }).describe('both'),
      structural: {
        description: 'both',
        type: 'object',
        required: ['b'],
        properties: { a: { type: 'string' }, b: { type: 'string' } },
      },
    },
    {
      zod: z.object({ inner: z.object({ a: z.string().default('x') }).prefault({}) }),
      structural: {
        type: 'object',
        properties: {
          inner: { type: 'object', default: {}, properties: { a: { type: 'string', default: 'x' } } },
        },
      },
    },
    {
      zod: z.string().meta({ 'x-kubernetes-validations': [{ rule: 'true' }] }),
      structural: { type: 'string', 'x-kubernetes-validations': [{ rule: 'true' }] },
    },
    {
      zod: quantity,
      structural: {
        maxLength: 32,
        pattern: '^[0-9]+(\\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi)?$',
        anyOf: [{ type: 'integer' }, { type: 'string' }],
        'x-kubernetes-int-or-string': true,
      },
    },
  ])('$structural', ({ zod, structural }) => {
    expect(structuralSchema(zod)).toEqual(structural);
  });

  test('refuses what has no one type, and says where', () => {
    const schema = z.object({ list: z.array(z.union([z.string(), z.boolean()])) });
    expect(() => structuralSchema(schema)).toThrow('.list[]: a structural schema needs one type');
  });

  test('leaves out a minimum that says nothing', () => {
    expect(toStructural({ type: 'integer', minimum: Number.MIN_SAFE_INTEGER })).toEqual({
      type: 'integer',
      format: 'int64',
    });
  });
});
