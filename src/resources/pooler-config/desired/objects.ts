import type { V1Container, V1PodSpec } from '@kubernetes/client-node';
import type { KubernetesObject } from '../../../runtime/kubernetes-object.ts';
import { containerSecurity } from '../../sharded-cluster/desired/pod-security.ts';
import { definedResources } from '../../sharded-cluster/desired/resources.ts';
import type { Secret } from '../../sharded-cluster/desired/secrets.ts';
import { hashOf } from '../../sharded-cluster/hash.ts';
import type { PoolerConfig } from '../model.ts';
import { adminSecret, metricsPort, peersService, poolerName, poolerPort } from '../names.ts';
import { restartParameters } from '../parameters.ts';
import { guard, localConsole, localSocket } from './guard.ts';
import { clientService, ownedSecret, ownedService, podDisruptionBudget, statefulSet } from './owned.ts';
import { drainSeconds, farewellSeconds, type PodOptions, poolerPod } from './pod.ts';
import { resolver } from './resolver.ts';
import { consoleUsers, settingsDirectory, socketDirectory } from './settings.ts';

/** Name of the container that runs PgBouncer. */
const poolerContainer = 'pgbouncer';

/** Seconds that transactions get when clients have not left in time. */
const lastSeconds = 10;

/** What is not in the PoolerConfig's own spec. */
export interface ObjectsOptions extends PodOptions {
  readonly replicas: number;
}

/** The objects of a PoolerConfig, in order of creation; Secrets come before them. */
export function poolerObjects(pooler: PoolerConfig, options: ObjectsOptions): KubernetesObject[] {
  return [peers(pooler), clientService(pooler), podDisruptionBudget(pooler), instances(pooler, options)];
}

/** Secret with everything that an instance reads: one volume, so that all of it changes at once. */
export function poolerSecret(pooler: PoolerConfig, content: Readonly<Record<string, string>>): Secret {
  return ownedSecret(pooler, poolerName(pooler.metadata.name), content);
}

/** Secret with the passwords of the admin console, and their verifiers as PgBouncer reads them. */
export function adminSecretObject(
  pooler: PoolerConfig,
  passwords: { readonly admin: string; readonly stats: string },
  users: string,
): Secret {
  return ownedSecret(pooler, adminSecret(pooler.metadata.name), {
    'admin-username': consoleUsers.admin,
    'admin-password': passwords.admin,
    'stats-username': consoleUsers.stats,
    'stats-password': passwords.stats,
    users,
  });
}

/** Host names for the instances, ready or not: a cancel goes to the one that has the session. */
function peers(pooler: PoolerConfig): KubernetesObject {
  return ownedService(pooler, peersService(pooler.metadata.name), {
    clusterIP: 'None',
    publishNotReadyAddresses: true,
    ports: [
      { name: 'postgres', port: poolerPort, targetPort: 'postgres', protocol: 'TCP' },
      { name: 'metrics', port: metricsPort, targetPort: 'metrics', protocol: 'TCP' },
    ],
  });
}

/** Settings reach running instances; only what is in the template replaces pods. */
function instances(pooler: PoolerConfig, options: ObjectsOptions): KubernetesObject {
  const starting = restartParameters(pooler.spec.parameters);
  return statefulSet(pooler, {
    replicas: options.replicas,
    pod: podSpec(pooler, options),
    ...(Object.keys(starting).length === 0
      ? {}
      : { podAnnotations: { 'herdsman.dev/start-parameters': hashOf(starting) } }),
  });
}

function podSpec(pooler: PoolerConfig, options: PodOptions): V1PodSpec {
  const { name } = pooler.metadata;
  const { image } = options;
  const drain = drainSeconds(pooler);
  return {
    ...poolerPod(pooler, options, farewellSeconds + drain + lastSeconds),
    initContainers: [resolver(image), guard(image)],
    containers: [pgbouncer(pooler, image, drain), exporter(image)],
    volumes: [
      { name: 'settings', secret: { secretName: poolerName(name), defaultMode: 0o440 } },
      { name: 'run', emptyDir: {} },
      { name: 'tmp', emptyDir: {} },
    ],
  };
}

function pgbouncer(pooler: PoolerConfig, image: string, drain: number): V1Container {
  const probe = { tcpSocket: { port: 'postgres' }, timeoutSeconds: 2 };
  return {
    name: poolerContainer,
    image,
    imagePullPolicy: 'IfNotPresent',
    args: ['pgbouncer', `${settingsDirectory}/instance-$(ORDINAL).ini`],
    env: [
      {
        name: 'ORDINAL',
        valueFrom: {
          fieldRef: { apiVersion: 'v1', fieldPath: "metadata.labels['apps.kubernetes.io/pod-index']" },
        },
      },
    ],
    ports: [{ name: 'postgres', containerPort: poolerPort, protocol: 'TCP' }],
    resources: definedResources(pooler.spec.resources),
    securityContext: containerSecurity,
    readinessProbe: { ...probe, periodSeconds: 2, failureThreshold: 2 },
    livenessProbe: { ...probe, periodSeconds: 10, failureThreshold: 3 },
    lifecycle: { preStop: { exec: { command: ['sh', '-c', farewell(drain)] } } },
    volumeMounts: [
      { name: 'settings', mountPath: settingsDirectory, readOnly: true },
      { name: 'run', mountPath: socketDirectory },
      { name: 'tmp', mountPath: '/tmp' },
    ],
  };
}

/**
 * What an instance does when it is to go: it is out of the Service already, so it waits until its clients have left, as
 * SHUTDOWN WAIT_FOR_CLIENTS would, but may still let transactions of those that stay come to their end: INT waits for these,
 * which a second signal could not ask for. Process 1 passes it on.
 */
export function farewell(drain: number): string {
  const ask = `${localConsole} -c 'SHOW POOLS'`;
  const count = `awk -F'|' '$1 != "pgbouncer" { n += $3 + $4 } END { print n + 0 }'`;
  return [
    `sleep ${farewellSeconds}`,
    // By the clock: asking takes its time too, and the pod's grace ends.
    `end=$(($(date +%s) + ${drain}))`,
    `while [ $(date +%s) -lt $end ] && [ "$(${ask} | ${count})" != 0 ]; do sleep 1; done`,
    'kill -INT 1',
    `sleep ${lastSeconds}`,
  ].join('; ');
}

/** Asks by the socket, as the pod's own user: it needs no password. It ends when there is no socket, so it waits for that. */
const exporterCommand =
  `until [ -S ${localSocket} ]; do sleep 0.2; done; exec prometheus-pgbouncer-exporter ` +
  `--web.listen-address=:${metricsPort} --log.level=warn ` +
  `'--pgBouncer.connectionString=postgres://pgbouncer@:${poolerPort}/pgbouncer?host=${socketDirectory}&sslmode=disable'`;

function exporter(image: string): V1Container {
  return {
    name: 'exporter',
    image,
    imagePullPolicy: 'IfNotPresent',
    args: ['sh', '-c', exporterCommand],
    ports: [{ name: 'metrics', containerPort: metricsPort, protocol: 'TCP' }],
    resources: { requests: { cpu: '5m', memory: '16Mi' }, limits: { memory: '64Mi' } },
    securityContext: containerSecurity,
    volumeMounts: [{ name: 'run', mountPath: socketDirectory }],
  };
}
