import { readFileSync, statSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import type { Agent, RequestOptions } from 'node:https';
import { isIPv6 } from 'node:net';
import { join } from 'node:path';

/** How to reach the API server, and as whom, for the next request. */
interface RequestCredentials {
  readonly headers: Readonly<Record<string, string>>;
  readonly tls: Pick<RequestOptions, 'ca' | 'cert' | 'key' | 'servername' | 'rejectUnauthorized'>;
  /** Set only where a proxy stands in between. */
  readonly agent: Agent | undefined;
}

/** Credentials that stay fresh. */
export interface Credentials {
  readonly server: URL;
  readonly defaultNamespace: string;
  forRequest(): Promise<RequestCredentials>;
  /** After a 401: the next request gets what the source has now. */
  invalidate(): void;
}

const serviceAccountDirectory = '/var/run/secrets/kubernetes.io/serviceaccount';
const kubeconfigFreshMs = 10_000;

/** Where a pod finds its service account, or `undefined` outside of a cluster. */
export function inClusterServer(
  env: NodeJS.ProcessEnv,
): { readonly server: string; readonly directory: string } | undefined {
  const host = env.KUBERNETES_SERVICE_HOST;
  const port = env.KUBERNETES_SERVICE_PORT;
  if (host === undefined || port === undefined || !exists(join(serviceAccountDirectory, 'token')))
    return undefined;
  return {
    server: `https://${isIPv6(host) ? `[${host}]` : host}:${port}`,
    directory: serviceAccountDirectory,
  };
}

/**
 * A pod's own credentials. The kubelet replaces token and CA while the pod runs, so both files are looked at before each
 * request and read when they changed. Read here, because loading client-node costs 85 MB of memory.
 */
export function serviceAccountCredentials(server: string, directory: string): Credentials {
  const token = followFile(join(directory, 'token'));
  const ca = followFile(join(directory, 'ca.crt'));
  return {
    server: new URL(server),
    defaultNamespace: readFileSync(join(directory, 'namespace'), 'utf8').trim(),
    async forRequest() {
      const [bearer, authority] = await Promise.all([token.read(), ca.read()]);
      return { headers: { authorization: `Bearer ${bearer}` }, tls: { ca: authority }, agent: undefined };
    },
    invalidate() {
      token.forget();
      ca.forget();
    },
  };
}

/** Credentials from a kubeconfig, by client-node: certificates, tokens, exec plugins, OIDC, proxies. */
export async function kubeconfigCredentials(
  path: string | undefined,
  context: string | undefined,
): Promise<Credentials> {
  // Loaded only here: see serviceAccountCredentials.
  const { KubeConfig } = await import('@kubernetes/client-node');
  const load = (): InstanceType<typeof KubeConfig> => {
    const loaded = new KubeConfig();
    if (path === undefined) loaded.loadFromDefault();
    else loaded.loadFromFile(path);
    if (context !== undefined) loaded.setCurrentContext(context);
    return loaded;
  };
  let config = load();
  const cluster = config.getCurrentCluster();
  if (cluster === null) throw new Error('the kubeconfig has no current context with a cluster');
  let current: { readonly untilMs: number; readonly credentials: RequestCredentials } | undefined;
  return {
    server: new URL(cluster.server),
    defaultNamespace: config.getContextObject(config.getCurrentContext())?.namespace ?? 'default',
    async forRequest() {
      if (current !== undefined && performance.now() < current.untilMs) return current.credentials;
      const options: RequestOptions = {};
      await config.applyToHTTPSOptions(options);
      const credentials = fromHttpsOptions(options, cluster.proxyUrl !== undefined);
      current = { untilMs: performance.now() + kubeconfigFreshMs, credentials };
      return credentials;
    },
    invalidate() {
      current = undefined;
      config = load();
    },
  };
}

function fromHttpsOptions(options: RequestOptions, proxied: boolean): RequestCredentials {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(options.headers ?? {}))
    headers[name.toLowerCase()] = String(value).trim();
  if (typeof options.auth === 'string')
    headers.authorization = `Basic ${Buffer.from(options.auth).toString('base64')}`;
  const { ca, cert, key, servername, rejectUnauthorized } = options;
  const tls = Object.fromEntries(
    Object.entries({ ca, cert, key, servername, rejectUnauthorized }).filter(
      ([, value]) => value !== undefined,
    ),
  );
  return { headers, tls, agent: proxied ? (options.agent as Agent) : undefined };
}

function followFile(path: string): { read(): Promise<string>; forget(): void } {
  let version = '';
  let content = '';
  return {
    async read() {
      const { mtimeMs, ino, size } = await stat(path);
      const found = `${mtimeMs}/${ino}/${size}`;
      if (found === version) return content;
      content = (await readFile(path, 'utf8')).trim();
      version = found;
      return content;
    },
    forget() {
      version = '';
    },
  };
}

function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}
