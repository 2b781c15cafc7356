import { type Console, type ConsoleOptions, openConsole } from '../../postgres/pgbouncer-console.ts';
import type { Pod } from '../sharded-cluster/kubernetes.ts';
import type { SecretReading } from '../sharded-cluster/model.ts';
import { serviceHost } from '../sharded-cluster/names.ts';
import { contentOf } from '../sharded-cluster/steps/identity.ts';
import { consoleUsers } from './desired/settings.ts';
import type { PoolerConfig } from './model.ts';
import { adminSecret, poolerName, poolerPort } from './names.ts';

/** How the operator reaches the consoles of a PoolerConfig's instances: by address, verified against the Service's name. */
export interface ConsoleAccess {
  options(address: string): ConsoleOptions;
}

/** Access with the password and the authority of the Secrets; `undefined` before they are there. */
export function consoleAccess(
  { metadata }: Pick<PoolerConfig, 'metadata'>,
  secrets: ReadonlyMap<string, SecretReading>,
): ConsoleAccess | undefined {
  const password = contentOf(secrets.get(adminSecret(metadata.name)))?.['admin-password'];
  const ca = contentOf(secrets.get(poolerName(metadata.name)))?.['ca.crt'];
  if (password === undefined || ca === undefined) return undefined;
  const servername = serviceHost(poolerName(metadata.name), metadata.namespace);
  return {
    options: (host) => ({ host, port: poolerPort, user: consoleUsers.admin, password, ca, servername }),
  };
}

/** Lends a console of the instance in a pod for the length of `work`. */
export async function useConsole<T>(
  access: ConsoleAccess | undefined,
  pod: Pod,
  work: (console: Console) => Promise<T>,
): Promise<T> {
  const address = pod.status?.podIP;
  if (access === undefined || address === undefined)
    throw new Error(`instance ${pod.metadata.name} cannot be reached yet`);
  const console = await openConsole(access.options(address));
  try {
    return await work(console);
  } finally {
    await console.close();
  }
}
