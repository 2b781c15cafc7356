import { request } from 'node:https';
import { checkServerIdentity, type PeerCertificate } from 'node:tls';
import { UnreachableError } from './postgres-error.ts';

/** How to reach the REST API of one member. */
export interface PatroniOptions {
  /** Address to dial. */
  readonly host: string;
  /** Default 8008. */
  readonly port?: number;
  /** Name that the member's certificate must have. */
  readonly servername: string;
  /** PEM of the authorities that are trusted. */
  readonly ca: string;
  /** Needed for everything but reading. */
  readonly clientCertificate?: { readonly cert: string; readonly key: string };
  /** Default 5 s; what restarts or switches over gets 60 s more. */
  readonly timeoutMs?: number;
}

/** Role of a member in Patroni's words (4.0.7). */
export type PatroniRole =
  | 'leader'
  | 'standby_leader'
  | 'primary'
  | 'replica'
  | 'sync_standby'
  | 'quorum_standby'
  | (string & {});

/** A member as `GET /cluster` lists it. */
export interface ClusterMember {
  readonly name: string;
  readonly role: PatroniRole;
  /** running, streaming, in archive recovery, starting, stopped, crashed, creating replica, … */
  readonly state: string;
  readonly host?: string;
  readonly port?: number;
  readonly api_url?: string;
  readonly timeline?: number;
  /** Bytes behind the leader, or `unknown`. */
  readonly lag?: number | 'unknown';
  readonly pending_restart?: boolean;
  readonly pending_restart_reason?: Readonly<
    Record<string, { readonly old_value: unknown; readonly new_value: unknown }>
  >;
  readonly tags?: Readonly<Record<string, unknown>>;
}

/** Answer of `GET /cluster`. */
export interface ClusterView {
  readonly scope?: string;
  readonly members: readonly ClusterMember[];
  readonly pause?: boolean;
  readonly scheduled_switchover?: Readonly<Record<string, unknown>>;
}

/** Answer of `GET /patroni`: what a member knows of itself. */
export interface MemberView {
  readonly state: string;
  readonly role: PatroniRole;
  readonly server_version?: number;
  readonly timeline?: number;
  readonly xlog?: Readonly<Record<string, unknown>>;
  readonly pending_restart?: boolean;
  readonly pending_restart_reason?: Readonly<Record<string, unknown>>;
  readonly database_system_identifier?: string;
  readonly dcs_last_seen?: number;
  readonly sync_standby?: boolean;
  readonly quorum_standby?: boolean;
  readonly patroni?: { readonly version?: string; readonly scope?: string; readonly name?: string };
  readonly replication?: readonly Readonly<Record<string, unknown>>[];
  readonly cluster_unlocked?: boolean;
}

/** The dynamic configuration. */
export type PatroniConfig = Readonly<Record<string, unknown>>;

/** Patroni answered, and did not do it. */
export class PatroniError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.name = 'PatroniError';
    this.status = status;
  }
}

/** REST API of one member. Errors are `PatroniError` (it answered) or `UnreachableError` (what happened is unknown). */
export interface PatroniApi {
  cluster(): Promise<ClusterView>;
  /** Also answers while PostgreSQL is down. */
  member(): Promise<MemberView>;
  config(): Promise<PatroniConfig>;
  /** Ended timelines: number, last position in bytes, reason, time, next leader; as Patroni has them. */
  history(): Promise<readonly (readonly unknown[])[]>;
  /** Merges into the dynamic configuration; `null` removes a key. Answers the whole. */
  patchConfig(change: PatroniConfig): Promise<PatroniConfig>;
  /** Stops the leader cleanly and promotes the candidate (or the best one). */
  switchover(change: { readonly leader: string; readonly candidate?: string }): Promise<string>;
  /** Restarts PostgreSQL on this member, or only if a parameter waits for it. */
  restart(options?: { readonly onlyIfPending?: boolean; readonly timeoutSeconds?: number }): Promise<string>;
  /** Reads configuration and certificates again. */
  reload(): Promise<string>;
  /** Throws this member's data away and clones it from the leader: refused on the leader. */
  reinitialize(options?: { readonly force?: boolean }): Promise<string>;
}

/** Makes a client for one member. */
export function patroniApi(options: PatroniOptions): PatroniApi {
  const timeout = options.timeoutMs ?? 5_000;
  const read = async <T>(path: string, accepted: readonly number[] = [200]) =>
    parse<T>(path, await send(options, { method: 'GET', path, timeout }), accepted);
  const change = async (
    method: string,
    path: string,
    body: unknown,
    accepted: readonly number[],
    patience = 60_000,
  ) => {
    const answer = await send(options, { method, path, timeout: timeout + patience, body });
    if (accepted.includes(answer.status)) return answer.text.trim();
    throw new PatroniError(
      answer.status,
      `Patroni refused ${path} (${answer.status}): ${answer.text.trim()}`,
    );
  };
  return {
    cluster: () => read<ClusterView>('/cluster'),
    member: () => read<MemberView>('/patroni', [200, 503]),
    config: () => read<PatroniConfig>('/config'),
    history: () => read<readonly (readonly unknown[])[]>('/history'),
    async patchConfig(body) {
      const path = '/config';
      const answer = await send(options, { method: 'PATCH', path, timeout, body });
      return parse<PatroniConfig>(path, answer, [200]);
    },
    switchover: (body) => change('POST', '/switchover', body, [200]),
    async restart({ onlyIfPending = false, timeoutSeconds } = {}) {
      const body = {
        ...(onlyIfPending ? { restart_pending: true } : {}),
        ...(timeoutSeconds === undefined ? {} : { timeout: timeoutSeconds }),
      };
      try {
        return await change('POST', '/restart', body, [200, 202]);
      } catch (error) {
        // Patroni's answer when nothing was pending (4.0.7, Ha.restart).
        const idle = error instanceof PatroniError && error.message.includes('conditions are not satisfied');
        if (onlyIfPending && idle) return 'nothing was pending';
        throw error;
      }
    },
    reload: () => change('POST', '/reload', {}, [200, 202], 0),
    reinitialize: ({ force = false } = {}) => change('POST', '/reinitialize', { force }, [200, 202], 0),
  };
}

interface Answer {
  readonly status: number;
  readonly text: string;
}

function parse<T>(path: string, answer: Answer, accepted: readonly number[]): T {
  if (!accepted.includes(answer.status)) {
    throw new PatroniError(
      answer.status,
      `Patroni refused ${path} (${answer.status}): ${answer.text.trim()}`,
    );
  }
  try {
    return JSON.parse(answer.text) as T;
  } catch (error) {
    throw new UnreachableError(`Patroni's answer to ${path} is no JSON`, { cause: error });
  }
}

interface Call {
  readonly method: string;
  readonly path: string;
  readonly timeout: number;
  readonly body?: unknown;
}

function send(options: PatroniOptions, call: Call): Promise<Answer> {
  const port = options.port ?? 8008;
  const body = call.body === undefined ? undefined : JSON.stringify(call.body);
  return new Promise((resolve, reject) => {
    const fail = (error: Error) =>
      reject(
        new UnreachableError(`no answer from Patroni at ${options.host}:${port}: ${error.message}`, {
          cause: error,
        }),
      );
    const outgoing = request(
      {
        host: options.host,
        port,
        method: call.method,
        path: call.path,
        servername: options.servername,
        ca: options.ca,
        ...(options.clientCertificate ?? {}),
        checkServerIdentity: (_: string, certificate: PeerCertificate) =>
          checkServerIdentity(options.servername, certificate),
        headers:
          body === undefined
            ? {}
            : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) },
        // A limit on the whole exchange: a socket timeout alone lets a peer that trickles bytes hold it for ever.
        signal: AbortSignal.timeout(call.timeout),
        agent: false,
      },
      (incoming) => {
        const chunks: Buffer[] = [];
        incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
        incoming.on('error', fail);
        incoming.on('end', () =>
          resolve({ status: incoming.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') }),
        );
      },
    );
    outgoing.on('error', fail);
    outgoing.end(body);
  });
}
