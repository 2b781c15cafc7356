import type { V1Container, V1PodSpec, V1StatefulSetSpec } from '@kubernetes/client-node';
import type { KubernetesObject } from '../../../runtime/kubernetes-object.ts';
import { containerSecurity } from '../../sharded-cluster/desired/pod-security.ts';
import { definedResources } from '../../sharded-cluster/desired/resources.ts';
import type { Secret } from '../../sharded-cluster/desired/secrets.ts';
import type { StatefulSet } from '../../sharded-cluster/kubernetes.ts';
import type { PoolerConfig } from '../model.ts';
import { peersService, pgpoolKeySecret, poolerName, poolerPort } from '../names.ts';
import { clientService, ownedSecret, ownedService, podDisruptionBudget, statefulSet } from './owned.ts';
import { pgpoolDirectory, pgpoolKeyDirectory } from './pgpool-settings.ts';
import { drainSeconds, farewellSeconds, type PodOptions, poolerPod } from './pod.ts';
import { settingsDirectory } from './settings.ts';

/** Annotation of a pod with the hash of the settings that it was started with. */
export const startAnnotation = 'herdsman.dev/start-settings';
/** The same, for the instance itself. */
const startVariable = 'START';
/** Annotation of the StatefulSet with the number of members of each set that instances know. */
export const slotsAnnotation = 'herdsman.dev/backend-slots';

/** Seconds that the end of an instance takes when clients have not left in time. */
const lastSeconds = 5;

/** What is not in the PoolerConfig's own spec. */
export interface PgpoolObjectsOptions extends PodOptions {
  readonly replicas: number;
  readonly start: string;
  readonly slots: Readonly<Record<string, number>>;
}

/** The objects of a PoolerConfig with Pgpool-II, in order of creation; Secrets come before them. */
export function pgpoolObjects(pooler: PoolerConfig, options: PgpoolObjectsOptions): KubernetesObject[] {
  const { name } = pooler.metadata;
  const { replicas, start, slots } = options;
  const port = { name: 'postgres', port: poolerPort, targetPort: 'postgres', protocol: 'TCP' };
  return [
    ownedService(pooler, peersService(name), { clusterIP: 'None', ports: [port] }),
    clientService(pooler),
    podDisruptionBudget(pooler),
    statefulSet(pooler, {
      replicas,
      pod: podSpec(pooler, options, start),
      podAnnotations: { [startAnnotation]: start },
      annotations: { [slotsAnnotation]: JSON.stringify(slots) },
    }),
  ];
}

/** The instances as they are, to be started anew with other files: with the template that they have, whatever the spec says. */
export function startedAnew(live: StatefulSet, start: string): KubernetesObject {
  const { apiVersion, kind, metadata } = live;
  const { name, namespace, labels, annotations, ownerReferences } = metadata;
  const { template, ...spec } = live.spec as V1StatefulSetSpec;
  const containers = template.spec?.containers.map((container) => ({
    ...container,
    env: container.env?.map((entry) => (entry.name === startVariable ? { ...entry, value: start } : entry)),
  }));
  return {
    apiVersion,
    kind,
    metadata: { name, namespace, labels, annotations, ownerReferences } as KubernetesObject['metadata'],
    spec: {
      ...spec,
      template: {
        metadata: {
          labels: template.metadata?.labels,
          annotations: { ...template.metadata?.annotations, [startAnnotation]: start },
        },
        spec: { ...template.spec, containers },
      },
    },
  } as KubernetesObject;
}

/** What the template of the instances is started with. */
export function templateStart(live: StatefulSet): string | undefined {
  return (live.spec as V1StatefulSetSpec | undefined)?.template?.metadata?.annotations?.[startAnnotation];
}

/** Secret with the key that passwords are encrypted with: apart from them, since one without the other is of no use. */
export function pgpoolKeyObject(pooler: PoolerConfig, key: string): Secret {
  return ownedSecret(pooler, pgpoolKeySecret(pooler.metadata.name), { key });
}

function podSpec(pooler: PoolerConfig, options: PodOptions, start: string): V1PodSpec {
  const { name } = pooler.metadata;
  const { image } = options;
  const drain = drainSeconds(pooler);
  return {
    ...poolerPod(pooler, options, farewellSeconds + drain + lastSeconds),
    containers: [pgpool(pooler, { image, start, drain })],
    volumes: [
      { name: 'settings', secret: { secretName: poolerName(name), defaultMode: 0o440 } },
      { name: 'key', secret: { secretName: pgpoolKeySecret(name), defaultMode: 0o440 } },
      { name: 'run', emptyDir: { medium: 'Memory' } },
      { name: 'tmp', emptyDir: {} },
    ],
  };
}

function pgpool(
  pooler: PoolerConfig,
  { image, start, drain }: { readonly image: string; readonly start: string; readonly drain: number },
): V1Container {
  const probe = { tcpSocket: { port: 'postgres' }, timeoutSeconds: 2 };
  return {
    name: 'pgpool',
    image,
    imagePullPolicy: 'IfNotPresent',
    args: ['sh', '-c', runScript],
    env: [{ name: startVariable, value: start }],
    ports: [{ name: 'postgres', containerPort: poolerPort, protocol: 'TCP' }],
    resources: definedResources(pooler.spec.resources),
    securityContext: containerSecurity,
    readinessProbe: { ...probe, periodSeconds: 2, failureThreshold: 2 },
    livenessProbe: { ...probe, periodSeconds: 10, failureThreshold: 3 },
    lifecycle: { preStop: { exec: { command: ['sh', '-c', pgpoolFarewell(drain)] } } },
    volumeMounts: [
      { name: 'settings', mountPath: settingsDirectory, readOnly: true },
      { name: 'key', mountPath: pgpoolKeyDirectory, readOnly: true },
      { name: 'run', mountPath: pgpoolDirectory },
      { name: 'tmp', mountPath: '/tmp' },
    ],
  };
}

/**
 * Runs an instance, and tells it to read its settings when they have changed on the volume. A pod that is made while its
 * Secret changes may see the former one for a moment: it waits for the one that it was made for, but not for ever.
 */
export const runScript = `
settings=${settingsDirectory} run=${pgpoolDirectory}
left=100
while [ "$(cat $settings/start)" != "$START" ] && [ $left -gt 0 ]; do sleep 0.1; left=$((left - 1)); done
rm -rf $run/* $run/.s.*
mkdir -p $run/oids
install -m 0600 ${pgpoolKeyDirectory}/key $run/key
seen=$(cat $settings/revision)
pgpool -n -D -f $settings/pgpool.conf -a $settings/pool_hba.conf -k $run/key &
pid=$!
trap 'kill -INT $pid' INT TERM
while kill -0 $pid 2>/dev/null; do
  sleep 0.5 &
  wait $!
  now=$(cat $settings/revision)
  [ "$now" = "$seen" ] || kill -HUP $pid
  seen=$now
done
wait $pid
`;

/**
 * What an instance does when it is to go: it is out of the Service already; once every node knows, it waits until its clients
 * have left, or their time is up. A shutdown that waits by itself could not be cut short.
 */
export function pgpoolFarewell(drain: number): string {
  const hex = poolerPort.toString(16).toUpperCase();
  const clients = `$(awk '$2 ~ /:${hex}$/ && $4 == "01"' /proc/net/tcp /proc/net/tcp6 | wc -l)`;
  return [
    `sleep ${farewellSeconds}`,
    `end=$(($(date +%s) + ${drain}))`,
    `while [ $(date +%s) -lt $end ] && [ ${clients} != 0 ]; do sleep 1; done`,
    `kill -INT "$(cat ${pgpoolDirectory}/pid)"`,
    `sleep ${lastSeconds}`,
  ].join('; ');
}
