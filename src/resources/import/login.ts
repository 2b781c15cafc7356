import type { ImportSpec } from '../../api/v1alpha1/import.ts';
import type { SourceLogin } from '../../postgres/import/context.ts';
import type { KubeClient } from '../../runtime/kube-client.ts';
import { secretType } from '../../runtime/kubernetes-types.ts';
import { decoded } from '../sharded-cluster/desired/secrets.ts';
import { createNamedReader } from '../sharded-cluster/named-reader.ts';
import type { SecretObject } from '../sharded-cluster/observe.ts';

interface Unknown {
  readonly state: 'unknown';
  readonly reason: string;
  readonly message: string;
}

/** Who logs in at the other server, or why that is not known. */
export type Login = { readonly state: 'known'; readonly login: SourceLogin } | Unknown;

/** What a Secret says, or why that is not known. */
type Content = { readonly state: 'known'; readonly content: Readonly<Record<string, string>> } | Unknown;

/** A changed password is taken over after so long. */
const secretMs = 10_000;
/** What was read last is still good for cleaning up when the Secret has gone with its namespace. */
const lastMs = 1_800_000;

/** Reads Secrets by name, as they are named in `spec.bootstrap.import`. */
export function createLoginReader(client: KubeClient, monotonicMs: () => number) {
  const secrets = createNamedReader<SecretObject>(client, secretType, monotonicMs);

  async function read(
    namespace: string,
    name: string,
    isEnding: boolean,
    signal: AbortSignal,
  ): Promise<Content> {
    const reading = await secrets.read({ namespace, name }, isEnding ? lastMs : secretMs, signal);
    if (reading.state === 'present') return { state: 'known', content: decoded(reading.value.data ?? {}) };
    if (reading.state === 'absent')
      return {
        state: 'unknown',
        reason: 'SecretMissing',
        message: `Secret "${name}" does not exist: create it`,
      };
    const message = `Secret "${name}" could not be read: ${reading.error.message}`;
    return { state: 'unknown', reason: 'SecretUnknown', message };
  }

  return async (
    namespace: string,
    source: ImportSpec,
    isEnding: boolean,
    signal: AbortSignal,
  ): Promise<Login> => {
    const secret = await read(namespace, source.credentials, isEnding, signal);
    if (secret.state === 'unknown') return secret;
    const { username, password } = secret.content;
    if (username === undefined || password === undefined)
      return lacking(source.credentials, username === undefined ? 'username' : 'password');
    const { caSecret } = source.tls;
    if (caSecret === undefined) return { state: 'known', login: { username, password } };
    const authority = await read(namespace, caSecret, isEnding, signal);
    if (authority.state === 'unknown') return authority;
    const ca = authority.content['ca.crt'];
    return ca === undefined
      ? lacking(caSecret, 'ca.crt')
      : { state: 'known', login: { username, password, ca } };
  };
}

function lacking(secret: string, key: string): Unknown {
  const message = `Secret "${secret}" has no key "${key}": add it`;
  return { state: 'unknown', reason: 'SecretIncomplete', message };
}
