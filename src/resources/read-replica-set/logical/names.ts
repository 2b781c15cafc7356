import { serviceHost } from '../../sharded-cluster/names.ts';
import { readService, replicasName } from '../names.ts';

/** What stands in names and labels of a read model where those of physical members have the shard. */
export const modelPart = 'model';

/** ConfigMap with the settings of the members' servers: `reports-model-replicas-postgres`. */
export function modelConfigMap(set: string): string {
  return `${replicasName(set, modelPart)}-postgres`;
}

/** Secret with the certificate of the members' servers: `reports-model-replicas-tls`. */
export function modelTlsSecret(set: string): string {
  return `${replicasName(set, modelPart)}-tls`;
}

/** Host through which a read model is read; also the name that its certificate is verified against. */
export function modelHost(set: string, namespace: string): string {
  return serviceHost(readService(set, modelPart), namespace);
}

/** Every name that the members' certificate is valid for. */
export function modelServerNames(set: string, namespace: string): string[] {
  const service = readService(set, modelPart);
  const host = modelHost(set, namespace);
  return [service, `${service}.${namespace}`, host, `${host}.cluster.local`];
}
