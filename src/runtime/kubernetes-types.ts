import type { ResourceType } from './kubernetes-object.ts';

function define(
  group: string,
  version: string,
  plural: string,
  kind: string,
  namespaced = true,
): ResourceType {
  return Object.freeze({ group, version, plural, kind, namespaced });
}

const rbac = 'rbac.authorization.k8s.io';

/** core/v1 Pod. */
export const podType = define('', 'v1', 'pods', 'Pod');
/** core/v1 Service. */
export const serviceType = define('', 'v1', 'services', 'Service');
/** core/v1 Secret. */
export const secretType = define('', 'v1', 'secrets', 'Secret');
/** core/v1 ConfigMap. */
export const configMapType = define('', 'v1', 'configmaps', 'ConfigMap');
/** core/v1 PersistentVolumeClaim. */
export const persistentVolumeClaimType = define('', 'v1', 'persistentvolumeclaims', 'PersistentVolumeClaim');
/** core/v1 ServiceAccount. */
export const serviceAccountType = define('', 'v1', 'serviceaccounts', 'ServiceAccount');
/** core/v1 Event. */
export const eventType = define('', 'v1', 'events', 'Event');
/** core/v1 Node. */
export const nodeType = define('', 'v1', 'nodes', 'Node', false);
/** core/v1 Namespace. */
export const namespaceType = define('', 'v1', 'namespaces', 'Namespace', false);
/** apps/v1 StatefulSet. */
export const statefulSetType = define('apps', 'v1', 'statefulsets', 'StatefulSet');
/** apps/v1 Deployment. */
export const deploymentType = define('apps', 'v1', 'deployments', 'Deployment');
/** policy/v1 PodDisruptionBudget. */
export const podDisruptionBudgetType = define('policy', 'v1', 'poddisruptionbudgets', 'PodDisruptionBudget');
/** rbac.authorization.k8s.io/v1 Role. */
export const roleType = define(rbac, 'v1', 'roles', 'Role');
/** rbac.authorization.k8s.io/v1 RoleBinding. */
export const roleBindingType = define(rbac, 'v1', 'rolebindings', 'RoleBinding');
/** coordination.k8s.io/v1 Lease. */
export const leaseType = define('coordination.k8s.io', 'v1', 'leases', 'Lease');
