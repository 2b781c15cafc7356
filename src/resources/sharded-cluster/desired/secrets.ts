import type { KubernetesObject } from '../../../runtime/kubernetes-object.ts';

/** A core/v1 Secret; `data` is in base64. */
export interface Secret extends KubernetesObject {
  type: string;
  data: Record<string, string>;
}

/** Content of a Secret as it is stored: each value in base64. */
export function encoded(content: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(content).map(([key, value]) => [key, Buffer.from(value, 'utf8').toString('base64')]),
  );
}

/** Content of a Secret as text. */
export function decoded(data: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(data).map(([key, value]) => [key, Buffer.from(value, 'base64').toString('utf8')]),
  );
}
