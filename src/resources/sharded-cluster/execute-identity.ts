import { durationMs } from '../../api/v1alpha1/duration.ts';
import { authorityLifetime, createAuthority } from '../../pki/authority.ts';
import { issueCertificate } from '../../pki/certificate.ts';
import type { KeyPair } from '../../pki/key-pair.ts';
import { generatePassword } from '../../pki/password.ts';
import { isSignedBy } from '../../pki/renewal.ts';
import {
  type AuthorityState,
  promoteAuthority,
  stageAuthority,
  succeedingAuthority,
} from '../../pki/rotation.ts';
import { isAlreadyExists } from '../../runtime/api-error.ts';
import type { KubeClient } from '../../runtime/kube-client.ts';
import { secretType } from '../../runtime/kubernetes-types.ts';
import { applicationCredentials, monitoringCredentials } from './desired/credentials.ts';
import type { Secret } from './desired/secrets.ts';
import {
  authoritySecretObject,
  operatorTlsSecretObject,
  pairOf,
  shardTlsSecretObject,
} from './desired/tls-secrets.ts';
import type { Pass } from './execute.ts';
import type { Action } from './model.ts';
import type { NamedReader } from './named-reader.ts';
import { fieldManager, operatorTlsSecret, serverNames, shardTlsSecret } from './names.ts';
import type { SecretObject } from './observe.ts';
import {
  contentOf,
  observedAuthority,
  operatorName,
  replicationName,
  serverCommonName,
} from './steps/identity.ts';

type IdentityAction = Extract<
  Action,
  {
    kind:
      | 'create-authority'
      | 'rotate-authority'
      | 'issue-shard'
      | 'issue-operator'
      | 'generate-login'
      | 'write-secret';
  }
>;

/** What identities are made and stored with. */
export interface IdentityContext {
  readonly client: Pick<KubeClient, 'create' | 'apply'>;
  readonly secrets: Pick<NamedReader<SecretObject>, 'note' | 'forget'>;
  readonly now: () => Date;
}

/** What of a pass identities depend on. */
export type IdentityPass = Pick<Pass, 'cluster' | 'observed' | 'signal'>;

/** Names of application and monitoring roles that are generated. */
const generatedNames = { application: 'app', monitoring: 'monitoring' } as const;

/** Makes keys, certificates and passwords, and stores them in Secrets. */
export async function executeIdentity(
  context: IdentityContext,
  pass: IdentityPass,
  action: IdentityAction,
): Promise<void> {
  const { cluster } = pass;
  switch (action.kind) {
    case 'create-authority': {
      const state = succeedingAuthority(
        await newAuthority(context, pass),
        trustedBundles(pass),
        context.now(),
      );
      return create(context, pass, authoritySecretObject(cluster, state));
    }
    case 'rotate-authority': {
      const state = readAuthority(pass);
      const now = context.now();
      const next =
        action.step === 'stage'
          ? stageAuthority(state, await newAuthority(context, pass), now)
          : promoteAuthority(state, now);
      return write(context, pass, authoritySecretObject(cluster, next));
    }
    case 'issue-shard': {
      const { name, namespace } = cluster.metadata;
      const { current, bundle } = readAuthority(pass);
      const kept = action.reason === 'bundle' ? pairsOf(pass, action.shard) : undefined;
      // Others do not know yet an authority that followed upon a loss. Else another certificate has members take over what they trust.
      if (kept !== undefined && !isSignedBy(kept.server.certificate, current.certificate))
        return write(context, pass, shardTlsSecretObject(cluster, action.shard, kept, bundle));
      const validity = validityOf(context, pass);
      const [server, client] = await Promise.all([
        issueCertificate(current, {
          commonName: serverCommonName(name, action.shard),
          dnsNames: serverNames(name, action.shard, namespace, pass.observed.readServices?.get(action.shard)),
          usage: 'server',
          ...validity,
        }),
        issueCertificate(current, { commonName: replicationName, usage: 'client', ...validity }),
      ]);
      return write(context, pass, shardTlsSecretObject(cluster, action.shard, { server, client }, bundle));
    }
    case 'issue-operator': {
      const { current, bundle } = readAuthority(pass);
      const content = contentOf(pass.observed.secrets.get(operatorTlsSecret(cluster.metadata.name)));
      const kept = action.reason === 'bundle' && content !== undefined ? pairOf(content, 'tls') : undefined;
      if (kept !== undefined) return write(context, pass, operatorTlsSecretObject(cluster, kept, bundle));
      const options = { commonName: operatorName, usage: 'client' as const, ...validityOf(context, pass) };
      return write(
        context,
        pass,
        operatorTlsSecretObject(cluster, await issueCertificate(current, options), bundle),
      );
    }
    case 'generate-login': {
      const login = { username: generatedNames[action.role], password: generatePassword() };
      const build = action.role === 'application' ? applicationCredentials : monitoringCredentials;
      const { bundle } = readAuthority(pass);
      return create(
        context,
        pass,
        build(cluster, {
          login,
          authorityBundle: bundle,
          shards: pass.observed.shards.map((shard) => shard.name),
        }),
      );
    }
    case 'write-secret':
      return write(context, pass, action.secret);
  }
}

/** What peers trust now, as far as Secrets are left. */
function trustedBundles({ cluster, observed }: IdentityPass): string[] {
  const { name } = cluster.metadata;
  const secrets = [
    operatorTlsSecret(name),
    ...observed.shards.map((shard) => shardTlsSecret(name, shard.name)),
  ];
  return secrets.flatMap((secret) => contentOf(observed.secrets.get(secret))?.['ca.crt'] ?? []);
}

/** A shard's pairs as they are, when only what they trust changes. */
function pairsOf(
  { cluster, observed }: IdentityPass,
  shard: string,
): { server: KeyPair; client: KeyPair } | undefined {
  const content = contentOf(observed.secrets.get(shardTlsSecret(cluster.metadata.name, shard)));
  const server = content === undefined ? undefined : pairOf(content, 'tls');
  const client = content === undefined ? undefined : pairOf(content, 'client');
  return server === undefined || client === undefined ? undefined : { server, client };
}

async function newAuthority(
  context: IdentityContext,
  { cluster }: IdentityPass,
): Promise<AuthorityState['current']> {
  const { name, namespace } = cluster.metadata;
  return createAuthority({
    commonName: `${namespace}/${name}`,
    now: context.now(),
    lifetime: authorityLifetime,
  });
}

function validityOf(context: IdentityContext, { cluster }: IdentityPass): { now: Date; lifetime: number } {
  const lifetime = durationMs(cluster.spec.tls.certificateLifetime);
  if (lifetime === undefined) throw new Error('spec.tls.certificateLifetime is not a duration');
  return { now: context.now(), lifetime };
}

function readAuthority({ cluster, observed }: IdentityPass): AuthorityState {
  const state = observedAuthority(observed, cluster.metadata.name);
  if (typeof state === 'string') throw new Error(`the certificate authority is ${state}`);
  return state;
}

/** What is random is created, never applied: if another was faster, theirs counts. */
async function create(context: IdentityContext, pass: IdentityPass, secret: Secret): Promise<void> {
  try {
    context.secrets.note(
      await context.client.create(secretType, secret, { fieldManager, signal: pass.signal }),
    );
  } catch (error) {
    if (!isAlreadyExists(error)) throw error;
    const { namespace = '', name } = secret.metadata;
    context.secrets.forget({ namespace, name });
  }
}

async function write(context: IdentityContext, pass: IdentityPass, secret: Secret): Promise<void> {
  context.secrets.note(
    await context.client.apply(secretType, secret, { fieldManager, force: true, signal: pass.signal }),
  );
}
