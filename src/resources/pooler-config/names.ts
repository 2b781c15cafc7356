import { clusterLabel, componentLabel, managedByLabel, serviceHost } from '../sharded-cluster/names.ts';

/** Label with the name of the PoolerConfig. */
export const poolerLabel = 'herdsman.dev/pooler';

/** Annotation of an instance's pod with the revision of its settings; a change makes the kubelet deliver them at once. */
export const revisionAnnotation = 'herdsman.dev/pooler-revision';

/** Port on which instances listen; the Service has PostgreSQL's own. */
export const poolerPort = 6432;
/** Port of the metrics. */
export const metricsPort = 9127;

/** Name of the StatefulSet, Service, PDB, and Secret with settings and certificates: `web-pooler`. */
export function poolerName(pooler: string): string {
  return `${pooler}-pooler`;
}

/** Service that gives every instance a host name, by which its peers find it: `web-pooler-peers`. */
export function peersService(pooler: string): string {
  return `${poolerName(pooler)}-peers`;
}

/** Secret with the passwords for the admin console: `web-pooler-admin`. */
export function adminSecret(pooler: string): string {
  return `${poolerName(pooler)}-admin`;
}

/** Secret with the key that an instance of Pgpool-II decrypts passwords with: `web-pooler-key`. */
export function pgpoolKeySecret(pooler: string): string {
  return `${poolerName(pooler)}-key`;
}

/** Name of an instance's pod: `web-pooler-0`. */
export function instanceName(pooler: string, ordinal: number): string {
  return `${poolerName(pooler)}-${ordinal}`;
}

/** Ordinal of the instance with the pod's name; `undefined` if the pod is none. */
export function instanceOrdinal(pooler: string, pod: string): number | undefined {
  const prefix = `${poolerName(pooler)}-`;
  const ordinal = pod.startsWith(prefix) ? pod.slice(prefix.length) : '';
  return /^(0|[1-9][0-9]{0,3})$/.test(ordinal) ? Number(ordinal) : undefined;
}

/** Host name of an instance as its peers see it. */
export function instanceHost(pooler: string, ordinal: number, namespace: string): string {
  return `${instanceName(pooler, ordinal)}.${serviceHost(peersService(pooler), namespace)}`;
}

/** Every name that the certificate of the instances is valid for, with those that the spec adds. */
export function poolerServerNames(
  pooler: string,
  namespace: string,
  others: readonly string[] = [],
): string[] {
  const service = poolerName(pooler);
  const instances = `*.${serviceHost(peersService(pooler), namespace)}`;
  const own = [
    service,
    `${service}.${namespace}`,
    serviceHost(service, namespace),
    `${serviceHost(service, namespace)}.cluster.local`,
    instances,
    `${instances}.cluster.local`,
    'localhost',
  ];
  return [...new Set([...own, ...others])];
}

/** Labels of everything that belongs to a PoolerConfig. */
export function poolerLabels(pooler: string, cluster: string, engine: string): Record<string, string> {
  return {
    'app.kubernetes.io/name': engine,
    [managedByLabel]: 'herdsman',
    [clusterLabel]: cluster,
    [componentLabel]: 'pooler',
    [poolerLabel]: pooler,
  };
}

/** The few labels that select the instances; they never change, since a StatefulSet's selector cannot. */
export function poolerSelector(pooler: string): Record<string, string> {
  return { [componentLabel]: 'pooler', [poolerLabel]: pooler };
}

/** Name of the database that leads to a shard: `app`, or `app_s1` where there are more shards; `_ro` behind it for standbys. */
export function databaseName(database: string, shard: string | undefined, role: 'rw' | 'ro'): string {
  return [database, ...(shard === undefined ? [] : [shard]), ...(role === 'ro' ? ['ro'] : [])].join('_');
}
