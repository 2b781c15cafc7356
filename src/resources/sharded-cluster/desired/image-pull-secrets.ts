import type { V1PodSpec } from '@kubernetes/client-node';
import type { ShardedClusterSpec } from '../../../api/v1alpha1/sharded-cluster.ts';

/**
 * The Secrets with which the images of a pod are pulled. They are in the template and not on a ServiceAccount, which hands them
 * to new pods alone: a pod whose image could not be pulled is outdated by this, and so replaced.
 */
export function imagePullSecrets(
  secrets: ShardedClusterSpec['imagePullSecrets'],
): Pick<V1PodSpec, 'imagePullSecrets'> {
  if (secrets === undefined || secrets.length === 0) return {};
  return { imagePullSecrets: secrets.map(({ name }) => ({ name })) };
}
