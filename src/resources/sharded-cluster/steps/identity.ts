import { isDeepStrictEqual } from 'node:util';
import { needsRenewal, type RenewalReason } from '../../../pki/renewal.ts';
import { type AuthorityState, acceptedAuthority, rotationStep } from '../../../pki/rotation.ts';
import { poolerRole } from '../../../postgres/roles.ts';
import { applicationCredentials, type Login, monitoringCredentials } from '../desired/credentials.ts';
import { decoded, type Secret } from '../desired/secrets.ts';
import { authorityOf, pairOf } from '../desired/tls-secrets.ts';
import {
  type Action,
  type Observed,
  type PlanInput,
  proceed,
  type SecretReading,
  type ShardedCluster,
  type StepResult,
} from '../model.ts';
import {
  applicationSecret,
  authoritySecret,
  monitoringSecret,
  operatorTlsSecret,
  serverNames,
  shardTlsSecret,
} from '../names.ts';

/** Roles that log in with a password. */
export type LoginRole = 'application' | 'monitoring';

/** Common name of the certificate with which members connect to one another. */
export const replicationName = 'replication';
/** Common name of the operator's certificate, and its role in PostgreSQL. */
export const operatorName = 'herdsman';

/** A certificate authority, and the certificates of all shards and of the operator; renewed early, without a restart. */
export function certificates(input: PlanInput): StepResult {
  const { cluster, observed, now } = input;
  const name = cluster.metadata.name;
  const unknown = unknownSecret(observed);
  if (unknown !== undefined) return unknown;
  const authority = observedAuthority(observed, name);
  if (authority === 'absent') {
    return again([{ kind: 'create-authority' }], 'the certificate authority is being made');
  }
  if (authority === 'unreadable') return fail('AuthorityUnreadable', unreadable(authoritySecret(name)));
  const step = rotationStep(authority, now);
  if (step !== 'keep') {
    return again([{ kind: 'rotate-authority', step }], 'the certificate authority is being renewed');
  }
  const actions: Action[] = [];
  for (const shard of observed.shards) {
    const reason = shardRenewal(input, authority, shard.name);
    if (reason !== undefined) actions.push({ kind: 'issue-shard', shard: shard.name, reason });
  }
  const operator = operatorRenewal(input, authority);
  if (operator !== undefined) actions.push({ kind: 'issue-operator', reason: operator });
  return actions.length === 0 ? proceed : again(actions, 'certificates are being issued');
}

/** The logins for applications and monitoring: generated, or brought by the user, and published with all that a client needs. */
export function logins(input: PlanInput): StepResult {
  const { cluster, observed } = input;
  const authority = observedAuthority(observed, cluster.metadata.name);
  if (typeof authority === 'string') return again([], 'the certificate authority is being made');
  const actions: Action[] = [];
  for (const role of ['application', 'monitoring'] as const) {
    const login = loginOf(cluster, observed.secrets, role);
    if (login === 'absent') actions.push({ kind: 'generate-login', role });
    else if (typeof login === 'string') return fail('SecretIncomplete', login, actions);
    else actions.push(...publishLogin(input, role, login, authority.bundle));
  }
  if (actions.some((action) => action.kind === 'generate-login'))
    return again(actions, 'logins are being made');
  return { kind: 'continue', actions };
}

/** Names of all Secrets that the plan reads. */
export function secretNames({ metadata, spec }: ShardedCluster, shards: readonly string[]): string[] {
  const brought = [spec.credentials.application, spec.credentials.monitoring].filter(
    (name) => name !== undefined,
  );
  return [
    authoritySecret(metadata.name),
    operatorTlsSecret(metadata.name),
    applicationSecret(metadata.name),
    monitoringSecret(metadata.name),
    ...shards.map((shard) => shardTlsSecret(metadata.name, shard)),
    ...brought,
  ];
}

/** The authority as its Secret has it. */
export function observedAuthority(
  observed: Pick<Observed, 'secrets'>,
  cluster: string,
): AuthorityState | 'absent' | 'unreadable' {
  const content = contentOf(observed.secrets.get(authoritySecret(cluster)));
  if (content === undefined) return 'absent';
  return authorityOf(content) ?? 'unreadable';
}

/** The login of a role: from the Secret that the user brought, else from our own; a text says what is wrong with it. */
export function loginOf(
  cluster: ShardedCluster,
  secrets: Observed['secrets'],
  role: LoginRole,
): Login | 'absent' | string {
  const brought = cluster.spec.credentials[role];
  const name = brought ?? ownSecret(cluster.metadata.name, role);
  const content = contentOf(secrets.get(name));
  if (content === undefined) {
    if (brought === undefined) return 'absent';
    return `Secret "${name}" of spec.credentials.${role} does not exist: create it with the keys "username" and "password"`;
  }
  const { username, password } = content;
  if (username === undefined || username === '' || password === undefined || password === '') {
    return `Secret "${name}" needs the keys "username" and "password", neither empty`;
  }
  const problem = nameProblem(username);
  return problem === undefined ? { username, password } : `Secret "${name}": ${problem}`;
}

/** Roles that belong to Patroni, PostgreSQL or the operator. */
const reservedRoles: ReadonlySet<string> = new Set([
  'postgres',
  replicationName,
  'rewind',
  operatorName,
  poolerRole,
  'public',
  'none',
]);

function nameProblem(username: string): string | undefined {
  if (reservedRoles.has(username) || username.startsWith('pg_'))
    return `the username "${username}" is reserved`;
  if (!/^[a-z_][a-z0-9_]{0,62}$/.test(username)) {
    return `the username "${username}" must be lower-case letters, digits and underscores, at most 63, not starting with a digit`;
  }
  return undefined;
}

function publishLogin(input: PlanInput, role: LoginRole, login: Login, authorityBundle: string): Action[] {
  const { cluster, observed } = input;
  const build = role === 'application' ? applicationCredentials : monitoringCredentials;
  const wanted = build(cluster, { login, authorityBundle, shards: observed.shards.map(({ name }) => name) });
  const present = observed.secrets.get(wanted.metadata.name);
  if (present?.state === 'present' && contains(present.value.data, wanted.data)) return [];
  return [{ kind: 'write-secret', secret: wanted }];
}

function shardRenewal(
  input: PlanInput,
  authority: AuthorityState,
  shard: string,
): RenewalReason | 'absent' | 'bundle' | undefined {
  const { cluster, observed, now } = input;
  const { name, namespace } = cluster.metadata;
  const content = contentOf(observed.secrets.get(shardTlsSecret(name, shard)));
  if (content === undefined) return 'absent';
  const server = pairOf(content, 'tls');
  const client = pairOf(content, 'client');
  if (server === undefined || client === undefined) return 'unreadable';
  return (
    needsRenewal(server, {
      commonName: serverCommonName(name, shard),
      dnsNames: serverNames(name, shard, namespace, observed.readServices?.get(shard)),
      authority: acceptedAuthority(authority, server.certificate, now),
      now,
    }) ??
    needsRenewal(client, {
      commonName: replicationName,
      authority: acceptedAuthority(authority, client.certificate, now),
      now,
    }) ??
    (content['ca.crt'] === authority.bundle ? undefined : 'bundle')
  );
}

function operatorRenewal(
  input: PlanInput,
  authority: AuthorityState,
): RenewalReason | 'absent' | 'bundle' | undefined {
  const { cluster, observed, now } = input;
  const content = contentOf(observed.secrets.get(operatorTlsSecret(cluster.metadata.name)));
  if (content === undefined) return 'absent';
  const client = pairOf(content, 'tls');
  if (client === undefined) return 'unreadable';
  return (
    needsRenewal(client, {
      commonName: operatorName,
      authority: acceptedAuthority(authority, client.certificate, now),
      now,
    }) ?? (content['ca.crt'] === authority.bundle ? undefined : 'bundle')
  );
}

/** Common name of a shard's server certificate: `shop-s0`. */
export function serverCommonName(cluster: string, shard: string): string {
  return `${cluster}-${shard}`;
}

function ownSecret(cluster: string, role: LoginRole): string {
  return role === 'application' ? applicationSecret(cluster) : monitoringSecret(cluster);
}

/** Content of a Secret as text; `undefined` when it is not there. */
export function contentOf(reading: SecretReading | undefined): Record<string, string> | undefined {
  return reading?.state === 'present' ? decoded(reading.value.data) : undefined;
}

function contains(present: Readonly<Record<string, string>>, wanted: Secret['data']): boolean {
  return Object.entries(wanted).every(([key, value]) => isDeepStrictEqual(present[key], value));
}

function unknownSecret({ secrets }: Observed): StepResult | undefined {
  for (const [name, reading] of secrets) {
    if (reading.state !== 'unknown') continue;
    const message = `Secret "${name}" could not be read: ${reading.error.message}`;
    return { kind: 'wait', reason: 'SecretUnknown', message, afterMs: 2_000 };
  }
  return undefined;
}

function unreadable(secret: string): string {
  return `Secret "${secret}" has no readable "ca.crt" and "ca.key" that belong together: restore it, or delete it to have a new authority made`;
}

function again(actions: readonly Action[], message: string): StepResult {
  return { kind: 'wait', reason: 'CredentialsPending', message, afterMs: 0, actions };
}

function fail(reason: string, message: string, actions: readonly Action[] = []): StepResult {
  return { kind: 'fail', reason, message, actions };
}
