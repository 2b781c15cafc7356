import pg from 'pg';
import { endpoint } from './endpoint.ts';
import { apply, kubectl } from './kubectl.ts';
import { operatorNamespace } from './operator.ts';
import { waitFor } from './wait.ts';

/** A PostgreSQL in a pod that Herdsman knows nothing of, as a user has had it. */
export interface ExternalPostgres {
  readonly namespace: string;
  readonly name: string;
  readonly password: string;
}

const script = `
umask 077
printf %s "$PASSWORD" >/data/password
initdb -D /data/pg -U postgres --pwfile=/data/password --auth-host=scram-sha-256 --auth-local=trust --no-sync
echo 'host all all all scram-sha-256' >>/data/pg/pg_hba.conf
exec postgres -D /data/pg -c listen_addresses='*' -c wal_level=logical -c fsync=off -c unix_socket_directories=/data`;

/** Makes one, with a Service and a Secret of its name, and waits until it answers. */
export async function createExternalPostgres(external: ExternalPostgres): Promise<void> {
  const { namespace, name, password } = external;
  const image = await kubectl([
    ...['get', 'deployment', 'herdsman', '--namespace', operatorNamespace, '--output'],
    "jsonpath={.spec.template.spec.containers[0].env[?(@.name=='POSTGRES_IMAGE')].value}",
  ]);
  const metadata = { name, namespace, labels: { app: name } };
  const pod = {
    automountServiceAccountToken: false,
    terminationGracePeriodSeconds: 1,
    securityContext: {
      runAsNonRoot: true,
      runAsUser: 100,
      runAsGroup: 102,
      fsGroup: 102,
      seccompProfile: { type: 'RuntimeDefault' },
    },
    containers: [
      {
        name: 'postgres',
        image: image.trim(),
        imagePullPolicy: 'IfNotPresent',
        command: ['sh', '-c', script],
        env: [
          { name: 'PASSWORD', value: password },
          { name: 'PATH', value: '/usr/lib/postgresql/17/bin:/usr/bin:/bin' },
        ],
        ports: [{ containerPort: 5432 }],
        securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
        volumeMounts: [{ name: 'data', mountPath: '/data' }],
      },
    ],
    volumes: [{ name: 'data', emptyDir: {} }],
  };
  await apply([
    { apiVersion: 'v1', kind: 'Pod', metadata, spec: pod },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata,
      spec: { selector: { app: name }, ports: [{ port: 5432 }] },
    },
    {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata,
      stringData: { username: 'postgres', password },
    },
  ]);
  await waitFor('the external PostgreSQL answers', async () => {
    await onExternal(external, 'SELECT 1');
    return { done: true };
  });
}

/** How its superuser connects. */
export async function externalConfig(
  { namespace, name, password }: ExternalPostgres,
  database = 'postgres',
): Promise<pg.ClientConfig> {
  return { ...(await endpoint(namespace, name)), user: 'postgres', password, database };
}

/** Runs statements as its superuser, and returns the last result's rows. */
export async function onExternal<Row extends pg.QueryResultRow>(
  external: ExternalPostgres,
  text: string,
  database?: string,
): Promise<Row[]> {
  const client = new pg.Client({
    ...(await externalConfig(external, database)),
    connectionTimeoutMillis: 2_000,
  });
  client.on('error', () => undefined);
  await client.connect();
  try {
    const result = await client.query<Row>(text);
    return (Array.isArray(result) ? (result.at(-1) as pg.QueryResult<Row>) : result).rows;
  } finally {
    await client.end();
  }
}
