import { podType } from '../../src/runtime/kubernetes-types.ts';
import { kube } from './cluster.ts';
import { kubectl } from './kubectl.ts';
import { type ClusterKey, isReady, type MemberPod, memberPods } from './sharded-cluster.ts';
import { waitFor } from './wait.ts';

/** A pod beside the servers, in which a test runs the programs of the PostgreSQL image as the application. */
export interface ClientPod {
  /** Runs a program and returns what it prints. */
  run(words: readonly string[]): Promise<string>;
}

/** Where the Secret of the application is mounted. */
const secretDirectory = '/secret';

const restricted = {
  allowPrivilegeEscalation: false,
  capabilities: { drop: ['ALL'] },
  readOnlyRootFilesystem: true,
  runAsNonRoot: true,
  runAsUser: 100,
  runAsGroup: 102,
  seccompProfile: { type: 'RuntimeDefault' },
};

/** What is different about one. */
export interface ClientPodOptions {
  /** `client` by default. */
  readonly name?: string;
  /** The node that it shall be on. */
  readonly node?: string;
  /** What it requests; nothing by default. */
  readonly requests?: Readonly<Record<string, string>>;
}

/** Starts one that knows password and authority of a cluster, and waits until it runs; it goes with its namespace. */
export async function startClientPod(
  cluster: ClusterKey,
  { name = 'client', node, requests = {} }: ClientPodOptions = {},
): Promise<ClientPod> {
  const { namespace } = cluster;
  const client = await kube();
  const [member] = await memberPods(cluster);
  const image = member?.spec?.containers?.[0]?.image;
  if (image === undefined) throw new Error(`${cluster.name} has no member whose image could be taken`);
  const secretName = `${cluster.name}-app`;
  const fromSecret = (key: string) => ({ valueFrom: { secretKeyRef: { name: secretName, key } } });
  await client.create(podType, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace },
    ...{
      spec: {
        automountServiceAccountToken: false,
        ...(node === undefined ? {} : { nodeSelector: { 'kubernetes.io/hostname': node } }),
        terminationGracePeriodSeconds: 0,
        containers: [
          {
            name: 'client',
            image,
            imagePullPolicy: 'IfNotPresent',
            args: ['sleep', 'infinity'],
            resources: { requests },
            env: [
              { name: 'PGUSER', ...fromSecret('username') },
              { name: 'PGPASSWORD', ...fromSecret('password') },
              { name: 'PGSSLMODE', value: 'verify-full' },
              { name: 'PGSSLROOTCERT', value: `${secretDirectory}/ca.crt` },
            ],
            securityContext: restricted,
            volumeMounts: [{ name: 'secret', mountPath: secretDirectory, readOnly: true }],
          },
        ],
        volumes: [{ name: 'secret', secret: { secretName, items: [{ key: 'ca.crt', path: 'ca.crt' }] } }],
      },
    },
  });
  await waitFor('the client pod runs', async () => {
    const pod = await client.get<MemberPod>(podType, { namespace, name });
    return pod !== undefined && isReady(pod) ? { done: true } : { state: pod?.status };
  });
  return { run: (words) => kubectl(['exec', '-n', namespace, name, '--', ...words]) };
}
