import { group, version } from '../../api/v1alpha1/common.ts';
import type { ResourceType } from '../../runtime/kubernetes-object.ts';

/** herdsman.dev PoolerConfig. */
export const poolerConfigType: ResourceType = {
  group,
  version,
  plural: 'poolerconfigs',
  kind: 'PoolerConfig',
  namespaced: true,
};
