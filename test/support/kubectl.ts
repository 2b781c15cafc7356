import { dump } from 'js-yaml';
import { kubeconfigPath } from './cluster.ts';
import { run } from './program.ts';

/** Runs kubectl on the cluster in use and returns what it prints; throws what it complains. */
export function kubectl(arguments_: readonly string[], input?: string): Promise<string> {
  const environment = { KUBECONFIG: kubeconfigPath() };
  return run('kubectl', arguments_, input === undefined ? { environment } : { environment, input });
}

/** Where and how objects are applied. */
export interface ApplyOptions {
  readonly namespace?: string;
  /** The API server checks the objects and stores nothing. */
  readonly dryRun?: boolean;
}

/** Applies objects on the server side and returns them as the API server would store them, as YAML. */
export function apply(objects: object | readonly object[], options: ApplyOptions = {}): Promise<string> {
  const { namespace, dryRun } = options;
  const documents = Array.isArray(objects) ? objects : [objects];
  return kubectl(
    [
      ...['apply', '--server-side', '--force-conflicts', '--output', 'yaml', '--filename', '-'],
      ...(namespace === undefined ? [] : ['--namespace', namespace]),
      ...(dryRun ? ['--dry-run=server'] : []),
    ],
    documents.map((document: object) => dump(document, { noRefs: true })).join('---\n'),
  );
}

/** What the API server says against objects; throws when it would store them. */
export async function refusal(
  objects: object | readonly object[],
  options: ApplyOptions = {},
): Promise<string> {
  let stored: string;
  try {
    stored = await apply(objects, { ...options, dryRun: true });
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  throw new Error(`the API server would store this:\n${stored}`);
}
