import type { ImportSpec } from '../../api/v1alpha1/import.ts';
import type { SourceLogin } from '../../postgres/import/context.ts';
import type { KubeClient } from '../../runtime/kube-client.ts';
import { secretType } from '../../runtime/kubernetes-types.ts';
import { createNamedReader } from '../sharded-cluster/named-reader.ts';
import type { SecretObject } from '../sharded-cluster/observe.ts';

/** Who logs in at the other server, or why that is not known. */
export type Login =
  | { readonly state: 'known'; readonly login: SourceLogin }
  | { readonly state: 'unknown'; readonly reason: string; readonly message: string };

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
  ): Promise<Readonly<Record<string, string>> | Extract<Login, { state: 'unknown' }>> {
    const reading = await secrets.read({ namespace, name }, isEnding ? lastMs : secretMs, signal);
    if (reading.state === 'present') {
      const data = Object.entries(reading.value.data ?? {});
      return Object.fromEntries(data.map(([key, value]) => [key, Buffer.from(value, 'base64').toString()]));
    }
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
    if (isUnknown(secret)) return secret;
    const { username, password } = secret;
    if (username === undefined || password === undefined)
      return lacking(source.credentials, username === undefined ? 'username' : 'password');
    const { caSecret } = source.tls;
    if (caSecret === undefined) return { state: 'known', login: { username, password } };
    const authority = await read(namespace, caSecret, isEnding, signal);
    if (isUnknown(authority)) return authority;
    const ca = authority['ca.crt'];
    return ca === undefined
      ? lacking(caSecret, 'ca.crt')
      : { state: 'known', login: { username, password, ca } };
  };
}

function isUnknown(value: object): value is Extract<Login, { state: 'unknown' }> {
  return 'state' in value && value.state === 'unknown';
}

function lacking(secret: string, key: string): Login {
  const message = `Secret "${secret}" has no key "${key}": add it`;
  return { state: 'unknown', reason: 'SecretIncomplete', message };
}
