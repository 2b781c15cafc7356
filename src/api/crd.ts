import type { Kind, PrinterColumn } from './kinds.ts';
import { type JsonSchema, structuralSchema } from './structural.ts';
import { group, version } from './v1alpha1/common.ts';

/** The parts of a CustomResourceDefinition that Herdsman sets. */
export interface CustomResourceDefinition {
  readonly apiVersion: 'apiextensions.k8s.io/v1';
  readonly kind: 'CustomResourceDefinition';
  readonly metadata: { readonly name: string; readonly labels: Readonly<Record<string, string>> };
  readonly spec: {
    readonly group: string;
    readonly names: Readonly<Record<string, string | readonly string[]>>;
    readonly scope: 'Namespaced';
    readonly versions: readonly CustomResourceVersion[];
  };
}

/** One version of a CustomResourceDefinition. */
interface CustomResourceVersion {
  readonly name: string;
  readonly served: boolean;
  readonly storage: boolean;
  readonly additionalPrinterColumns: readonly Readonly<Record<string, string | number>>[];
  readonly schema: { readonly openAPIV3Schema: JsonSchema };
  readonly subresources: Readonly<Record<string, unknown>>;
}

/** `apiVersion`, `kind` and `metadata` as every Kubernetes object explains them. */
const objectProperties: Readonly<Record<string, JsonSchema>> = {
  apiVersion: { description: 'Version of the schema of this object.', type: 'string' },
  kind: { description: 'Kind of this object.', type: 'string' },
  metadata: { type: 'object' },
};

function column({ name, type = 'string', jsonPath, description, wide }: PrinterColumn) {
  return { name, type, description, jsonPath, ...(wide ? { priority: 1 } : {}) };
}

function objectSchema(kind: Kind): JsonSchema {
  const schema = structuralSchema(kind.schema);
  const { spec, status } = schema.properties ?? {};
  if (!spec || !status) throw new Error(`${kind.kind} has no spec or no status`);
  return { ...schema, required: ['spec'], properties: { ...objectProperties, spec, status } };
}

/** The CustomResourceDefinition of one kind, made from its zod schema. */
export function customResourceDefinition(kind: Kind): CustomResourceDefinition {
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${kind.plural}.${group}`, labels: { 'app.kubernetes.io/part-of': 'herdsman' } },
    spec: {
      group,
      names: {
        categories: ['herdsman'],
        kind: kind.kind,
        listKind: `${kind.kind}List`,
        plural: kind.plural,
        shortNames: kind.shortNames,
        singular: kind.kind.toLowerCase(),
      },
      scope: 'Namespaced',
      versions: [
        {
          name: version,
          served: true,
          storage: true,
          additionalPrinterColumns: kind.columns.map(column),
          schema: { openAPIV3Schema: objectSchema(kind) },
          subresources: { status: {}, ...(kind.scale ? { scale: kind.scale } : {}) },
        },
      ],
    },
  };
}
