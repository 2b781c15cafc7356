import { execFileSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { root } from './cluster.ts';

/** One request of the operator, as the local cluster's API server logged it. */
export interface OperatorRequest {
  readonly verb: string;
  readonly resource: string;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  readonly atMs: number;
}

interface AuditEvent {
  readonly verb: string;
  readonly stage: string;
  readonly requestReceivedTimestamp: string;
  readonly objectRef?: { resource?: string; subresource?: string; namespace?: string; name?: string };
}

const writes: ReadonlySet<string> = new Set(['create', 'update', 'patch', 'delete', 'deletecollection']);

/** Whether a request may change something. */
export function isWrite({ verb }: OperatorRequest): boolean {
  return writes.has(verb);
}

/** Where the local cluster's API server logs the operator's requests. */
function auditLog(): string {
  const status = execFileSync(`${root}deploy/local/cluster`, ['status'], { encoding: 'utf8' });
  const path = /^audit log\s+(\S+)/m.exec(status)?.[1];
  if (path === undefined) throw new Error('deploy/local/cluster status names no audit log');
  return path;
}

/** Begins to listen; the returned function gives the operator's requests that began since then. */
export function listenToOperator(): () => OperatorRequest[] {
  const path = auditLog();
  const start = statSync(path).size;
  const begunMs = Date.now();
  return () => {
    const whole = readFileSync(path);
    // The log is rotated when it is large; the new file holds only what came after.
    const text = (whole.length < start ? whole : whole.subarray(start)).toString('utf8');
    const events = text.split('\n').flatMap((line): AuditEvent[] => {
      try {
        return [JSON.parse(line) as AuditEvent];
      } catch {
        // The last line may be half written.
        return [];
      }
    });
    const requests = events
      // A watch is logged when it starts and when it ends; both are one request.
      .filter((event) => !(event.verb === 'watch' && event.stage === 'ResponseComplete'))
      .map(({ verb, objectRef, requestReceivedTimestamp }) => ({
        verb,
        resource: [objectRef?.resource ?? '', objectRef?.subresource ?? '']
          .filter((part) => part !== '')
          .join('/'),
        namespace: objectRef?.namespace,
        name: objectRef?.name,
        atMs: Date.parse(requestReceivedTimestamp),
      }));
    return requests.filter(({ atMs }) => atMs >= begunMs);
  };
}
