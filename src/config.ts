import { z } from 'zod';

const environment = z.object({
  POSTGRES_IMAGE: z.string().min(1),
  WATCH_NAMESPACES: z.string().default(''),
  POD_NAMESPACE: z.string().min(1).default('herdsman-system'),
  POD_NAME: z.string().min(1).default('herdsman'),
  LEASE_NAME: z.string().min(1).default('herdsman'),
  LOG_LEVEL: z.enum(['trace', 'debug', 'info', 'warn', 'error']).default('info'),
  HTTP_PORT: z.coerce.number().int().min(1).max(65535).default(8080),
});

/** Settings of the operator's process. */
export interface Config {
  /** Image of the members, unless a ShardedCluster names its own. */
  readonly postgresImage: string;
  /** Namespaces to watch; none: the whole Kubernetes cluster. */
  readonly namespaces: readonly string[] | undefined;
  readonly podNamespace: string;
  readonly podName: string;
  readonly leaseName: string;
  readonly logLevel: string;
  /** Port of /healthz, /readyz and /metrics. */
  readonly httpPort: number;
}

/** Reads the settings from the environment; throws with the names of all variables that are wrong. */
export function readConfig(env: NodeJS.ProcessEnv): Config {
  const parsed = environment.safeParse(env);
  if (!parsed.success) throw new Error(`environment: ${z.prettifyError(parsed.error)}`);
  const namespaces = parsed.data.WATCH_NAMESPACES.split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');
  return {
    postgresImage: parsed.data.POSTGRES_IMAGE,
    namespaces: namespaces.length === 0 ? undefined : namespaces,
    podNamespace: parsed.data.POD_NAMESPACE,
    podName: parsed.data.POD_NAME,
    leaseName: parsed.data.LEASE_NAME,
    logLevel: parsed.data.LOG_LEVEL,
    httpPort: parsed.data.HTTP_PORT,
  };
}
