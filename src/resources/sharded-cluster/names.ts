/** Field manager of everything that the operator applies. */
export const fieldManager = 'herdsman';

/** Label that tells whose object it is; watches select on it. */
export const managedByLabel = 'app.kubernetes.io/managed-by';
/** Label with the name of the ShardedCluster. */
export const clusterLabel = 'herdsman.dev/cluster';
/** Label with the name of the shard, such as `s0`. */
export const shardLabel = 'herdsman.dev/shard';
/** Label with what a pod is: `member`. */
export const componentLabel = 'herdsman.dev/component';
/** Label in which Patroni keeps the role of a member: `primary` or `replica`. */
export const roleLabel = 'herdsman.dev/role';
/** Label by which Patroni finds what belongs to its scope. */
export const scopeLabel = 'herdsman.dev/scope';

/** Label with the name of the ReadReplicaSet that an object belongs to. */
export const replicaSetLabel = 'herdsman.dev/replica-set';

/** Annotation of Patroni's `config` ConfigMap with the system identifier; empty while a member initialises the shard. */
export const initializeAnnotation = 'initialize';

/** Annotation of a StatefulSet with the image that its cluster has unless the spec names one. */
export const defaultImageAnnotation = 'herdsman.dev/default-image';

/** Annotation of a claim with the time since which no member uses its volume. */
export const releasedAtAnnotation = 'herdsman.dev/released-at';

/** Port of PostgreSQL. */
export const postgresPort = 5432;
/** Port of Patroni's REST API. */
export const patroniPort = 8008;

/** Most members that a shard can have; rights of members are listed by pod name up to here. */
export const maxMembers = 9;

/** ConfigMaps that Patroni keeps its state in. */
export type PatroniState = 'leader' | 'config' | 'sync' | 'failover' | 'failsafe';

/** Name of the shard with the index: `s0`. */
export function shardName(index: number): string {
  return `s${index}`;
}

/** Index of the shard with the name; `undefined` if it is not a shard's name. */
export function shardIndex(shard: string): number | undefined {
  const match = /^s(0|[1-9][0-9]{0,3})$/.exec(shard);
  return match === null ? undefined : Number(match[1]);
}

/** Patroni's scope, and the name of the shard's StatefulSet, headless Service, PDB, ServiceAccount, Role: `shop-s0`. */
export function scope(cluster: string, shard: string): string {
  return `${cluster}-${shard}`;
}

/** Name of a member's pod: `shop-s0-1`. */
export function podName(cluster: string, shard: string, ordinal: number): string {
  return `${scope(cluster, shard)}-${ordinal}`;
}

/** Ordinal of the member with the pod's name within its shard; `undefined` if the pod is not of this shard. */
export function podOrdinal(cluster: string, shard: string, pod: string): number | undefined {
  const prefix = `${scope(cluster, shard)}-`;
  if (!pod.startsWith(prefix)) return undefined;
  const ordinal = pod.slice(prefix.length);
  return /^(0|[1-9][0-9]{0,3})$/.test(ordinal) ? Number(ordinal) : undefined;
}

/** Name of the volume claim template of every member. */
export const claimTemplate = 'data';

/** Name of a member's PersistentVolumeClaim: `data-shop-s0-1`. */
export function claimName(cluster: string, shard: string, ordinal: number): string {
  return `${claimTemplate}-${podName(cluster, shard, ordinal)}`;
}

/** Service of the primary: `shop-s0-rw`. */
export function readWriteService(cluster: string, shard: string): string {
  return `${scope(cluster, shard)}-rw`;
}

/** Service of the standbys: `shop-s0-ro`. */
export function readOnlyService(cluster: string, shard: string): string {
  return `${scope(cluster, shard)}-ro`;
}

/** Service that gives every member a host name: `shop-s0`. */
export function headlessService(cluster: string, shard: string): string {
  return scope(cluster, shard);
}

/** Host name of a Service as seen from any namespace: `shop-s0-rw.ns.svc`. */
export function serviceHost(service: string, namespace: string): string {
  return `${service}.${namespace}.svc`;
}

/** Host name of the primary of a shard; also the name that its certificate is verified against. */
export function primaryHost(cluster: string, shard: string, namespace: string): string {
  return serviceHost(readWriteService(cluster, shard), namespace);
}

/** Every name that a shard's server certificate is valid for; `readServices` are those of its read replica sets. */
export function serverNames(
  cluster: string,
  shard: string,
  namespace: string,
  readServices: readonly string[] = [],
): string[] {
  const services = [readWriteService(cluster, shard), readOnlyService(cluster, shard), ...readServices];
  const members = `*.${serviceHost(headlessService(cluster, shard), namespace)}`;
  return [
    ...services.flatMap((service) => [
      service,
      `${service}.${namespace}`,
      serviceHost(service, namespace),
      `${serviceHost(service, namespace)}.cluster.local`,
    ]),
    members,
    `${members}.cluster.local`,
    'localhost',
  ];
}

/** ConfigMap with `patroni.yml`: `shop-s0-patroni`. */
export function patroniConfigMap(cluster: string, shard: string): string {
  return `${scope(cluster, shard)}-patroni`;
}

/** A ConfigMap of Patroni's own: `shop-s0-leader`. */
export function patroniState(cluster: string, shard: string, state: PatroniState): string {
  return `${scope(cluster, shard)}-${state}`;
}

/** Secret with the cluster's certificate authority: `shop-ca`. */
export function authoritySecret(cluster: string): string {
  return `${cluster}-ca`;
}

/** Secret with the certificates of a shard's members: `shop-s0-tls`. */
export function shardTlsSecret(cluster: string, shard: string): string {
  return `${scope(cluster, shard)}-tls`;
}

/** Secret with the operator's client certificate: `shop-operator-tls`. */
export function operatorTlsSecret(cluster: string): string {
  return `${cluster}-operator-tls`;
}

/** Secret with what applications connect with: `shop-app`. */
export function applicationSecret(cluster: string): string {
  return `${cluster}-app`;
}

/** Secret with what monitoring connects with: `shop-monitoring`. */
export function monitoringSecret(cluster: string): string {
  return `${cluster}-monitoring`;
}

/** Name of the cluster's ShardMap. */
export function shardMapName(cluster: string): string {
  return cluster;
}

/** Labels of everything that belongs to a cluster. */
export function clusterLabels(cluster: string): Record<string, string> {
  return {
    'app.kubernetes.io/name': 'postgresql',
    [managedByLabel]: 'herdsman',
    [clusterLabel]: cluster,
  };
}

/** Labels of everything that belongs to a shard. */
export function shardLabels(cluster: string, shard: string): Record<string, string> {
  return { ...clusterLabels(cluster), [shardLabel]: shard };
}

/** Labels of a member's pod and volume, and of what Patroni makes, by which it also selects. */
export function memberLabels(cluster: string, shard: string): Record<string, string> {
  return {
    ...shardLabels(cluster, shard),
    [componentLabel]: 'member',
    [scopeLabel]: scope(cluster, shard),
  };
}

/** The few labels that select the members of a shard; they never change, since a StatefulSet's selector cannot. */
export function memberSelector(cluster: string, shard: string): Record<string, string> {
  return { [componentLabel]: 'member', [scopeLabel]: scope(cluster, shard) };
}

/** Selector of the members of all shards of a cluster, for `/scale` and for listing. */
export function clusterMemberSelector(cluster: string): Record<string, string> {
  return { [clusterLabel]: cluster, [componentLabel]: 'member' };
}

/** Labels as the API's query parameters and kubectl write them: `a=b,c=d`. */
export function selectorText(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .sort()
    .join(',');
}
