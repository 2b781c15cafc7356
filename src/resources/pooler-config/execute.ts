import { durationMs } from '../../api/v1alpha1/duration.ts';
import { issueCertificate } from '../../pki/certificate.ts';
import { generatePassword } from '../../pki/password.ts';
import { poolerRole } from '../../postgres/roles.ts';
import { scramVerifier } from '../../postgres/scram.ts';
import { isAlreadyExists } from '../../runtime/api-error.ts';
import type { Clock } from '../../runtime/clock.ts';
import type { Expectations } from '../../runtime/expectations.ts';
import type { Informer } from '../../runtime/informer.ts';
import type { KubeClient } from '../../runtime/kube-client.ts';
import { type KubernetesObject, type ResourceType, typeName } from '../../runtime/kubernetes-object.ts';
import { podType, secretType } from '../../runtime/kubernetes-types.ts';
import type { Secret } from '../sharded-cluster/desired/secrets.ts';
import { authorityOf } from '../sharded-cluster/desired/tls-secrets.ts';
import type { Pod } from '../sharded-cluster/kubernetes.ts';
import type { NamedReader } from '../sharded-cluster/named-reader.ts';
import { authoritySecret, fieldManager } from '../sharded-cluster/names.ts';
import type { SecretObject } from '../sharded-cluster/observe.ts';
import type { Sources } from '../sharded-cluster/sources.ts';
import { contentOf } from '../sharded-cluster/steps/identity.ts';
import { type ConsoleAccess, useConsole } from './console-access.ts';
import { adminSecretObject, poolerSecret } from './desired/objects.ts';
import { pgpoolKeyObject } from './desired/pgpool-objects.ts';
import { consoleUsers } from './desired/settings.ts';
import type { PoolerFailure } from './failure.ts';
import { untilNoLogin } from './hold.ts';
import type { Action, Observed, PoolerConfig } from './model.ts';
import { poolerName, poolerServerNames, revisionAnnotation } from './names.ts';

/** What actions are carried out with. */
export interface PoolerExecution {
  readonly client: KubeClient;
  readonly sources: Sources;
  readonly secrets: NamedReader<SecretObject>;
  readonly expectations: Expectations;
  readonly clock: Clock;
  readonly now: () => Date;
}

/** One pass: what it is about, and what it was planned on. */
export interface PoolerPass {
  readonly pooler: PoolerConfig;
  readonly observed: Observed;
  readonly access: ConsoleAccess | undefined;
  /** `namespace/name`, the owner of expectations. */
  readonly owner: string;
  readonly signal: AbortSignal;
}

/**
 * Carries out the actions of a plan one after the other; one that fails does not keep the others from being tried. Instances connect
 * anew side by side: the logins of one may take long, and the clients of others wait for a server that has gone.
 */
export async function executePooler(
  context: PoolerExecution,
  pass: PoolerPass,
  actions: readonly Action[],
): Promise<PoolerFailure[]> {
  const failures: PoolerFailure[] = [];
  const attempt = async (action: Action): Promise<void> => {
    try {
      await run(context, pass, action);
    } catch (error) {
      failures.push({ action, error: error instanceof Error ? error : new Error(String(error)) });
    }
  };
  let reconnecting: Promise<void>[] = [];
  for (const action of actions) {
    if (action.kind === 'reconnect') {
      reconnecting.push(attempt(action));
      continue;
    }
    await Promise.all(reconnecting);
    reconnecting = [];
    await attempt(action);
  }
  await Promise.all(reconnecting);
  return failures;
}

async function run(context: PoolerExecution, pass: PoolerPass, action: Action): Promise<void> {
  const { pooler, signal } = pass;
  switch (action.kind) {
    case 'generate-admin':
      return generateAdmin(context, pass);
    case 'generate-key':
      return create(context, pass, pgpoolKeyObject(pass.pooler, generatePassword()));
    case 'issue':
      return issue(context, pass);
    case 'write-secret':
      return write(context, pass, action.secret);
    case 'apply': {
      const written = await context.client.apply(action.type, action.object, {
        fieldManager,
        force: true,
        signal,
      });
      return expectWritten(context, pass, action.type, written);
    }
    case 'deliver': {
      const patch = { metadata: { annotations: { [revisionAnnotation]: action.revision } } };
      const key = { namespace: pooler.metadata.namespace, name: action.pod };
      await context.client.patch(podType, key, patch, { type: 'merge', signal });
      return;
    }
    case 'reload':
      return useConsole(pass.access, podOf(pass, action.pod), (console) => console.reload());
    case 'reconnect':
      return useConsole(pass.access, podOf(pass, action.pod), async (console) => {
        await untilNoLogin(console, action.database, context.clock, 'reconnect', signal);
        signal.throwIfAborted();
        await console.reconnect(action.database);
      });
  }
}

/** Passwords of the console, which nobody has to type; the instances get their verifiers only. */
async function generateAdmin(context: PoolerExecution, pass: PoolerPass): Promise<void> {
  const passwords = { admin: generatePassword(), stats: generatePassword() };
  const users = [
    `"${consoleUsers.admin}" "${scramVerifier(passwords.admin)}"`,
    `"${consoleUsers.stats}" "${scramVerifier(passwords.stats)}"`,
    '',
  ].join('\n');
  await create(context, pass, adminSecretObject(pass.pooler, passwords, users));
}

/** Somebody who was faster is right. */
async function create(context: PoolerExecution, pass: PoolerPass, secret: Secret): Promise<void> {
  try {
    const { signal } = pass;
    context.secrets.note(await context.client.create(secretType, secret, { fieldManager, signal }));
  } catch (error) {
    if (!isAlreadyExists(error)) throw error;
    context.secrets.forget({ namespace: secret.metadata.namespace ?? '', name: secret.metadata.name });
  }
}

async function issue(context: PoolerExecution, pass: PoolerPass): Promise<void> {
  const { pooler, observed } = pass;
  const { name, namespace } = pooler.metadata;
  const authority = authorityOf(
    contentOf(observed.secrets.get(authoritySecret(pooler.spec.target.cluster))) ?? {},
  );
  if (authority === undefined) throw new Error('the certificate authority of the cluster is not there');
  const lifetime = durationMs(observed.cluster?.spec.tls?.certificateLifetime ?? '90d');
  if (lifetime === undefined)
    throw new Error('spec.tls.certificateLifetime of the cluster is not a duration');
  const validity = { now: context.now(), lifetime };
  const [server, client] = await Promise.all([
    issueCertificate(authority.current, {
      commonName: poolerName(name),
      dnsNames: poolerServerNames(name, namespace, pooler.spec.service.names),
      usage: 'server',
      ...validity,
    }),
    // Pgpool-II logs in by password.
    pooler.spec.engine === 'pgpool'
      ? undefined
      : issueCertificate(authority.current, { commonName: poolerRole, usage: 'client', ...validity }),
  ]);
  const present = contentOf(observed.secrets.get(poolerName(name))) ?? {};
  await write(
    context,
    pass,
    poolerSecret(pooler, {
      ...present,
      'ca.crt': authority.bundle,
      'tls.crt': server.certificate,
      'tls.key': server.key,
      ...(client === undefined ? {} : { 'client.crt': client.certificate, 'client.key': client.key }),
    }),
  );
}

async function write(context: PoolerExecution, pass: PoolerPass, secret: Secret): Promise<void> {
  const { signal } = pass;
  context.secrets.note(await context.client.apply(secretType, secret, { fieldManager, force: true, signal }));
}

function podOf({ observed }: PoolerPass, name: string): Pod {
  const pod = observed.instances.find((instance) => instance.name === name)?.pod;
  if (pod === undefined) throw new Error(`there is no instance ${name}`);
  return pod;
}

function expectWritten(
  context: PoolerExecution,
  pass: PoolerPass,
  type: ResourceType,
  written: KubernetesObject,
): void {
  const informers = [
    ...context.sources.plain,
    context.sources.statefulSets,
  ] as readonly Informer<KubernetesObject>[];
  const informer = informers.find((candidate) => typeName(candidate.type) === typeName(type));
  if (informer !== undefined) context.expectations.expectWritten(pass.owner, informer.cache, written);
}
