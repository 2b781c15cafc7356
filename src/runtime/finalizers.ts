import { ApiError } from './api-error.ts';
import type { KubeClient } from './kube-client.ts';
import { type KubernetesObject, keyOf, type ResourceType } from './kubernetes-object.ts';

/** Tries to change a list that others change, too. */
const maxTries = 5;

/** Whether an object waits for whoever has this finalizer before it goes. */
export function isHeldBy({ metadata }: KubernetesObject, finalizer: string): boolean {
  return metadata.finalizers?.includes(finalizer) === true;
}

/** Adds a finalizer; an object that goes already cannot be held any more, and is left. */
export async function hold(
  client: Pick<KubeClient, 'get' | 'patch'>,
  type: ResourceType,
  object: KubernetesObject,
  finalizer: string,
  signal: AbortSignal,
): Promise<void> {
  await change(client, type, object, signal, (latest) =>
    latest.metadata.deletionTimestamp !== undefined || isHeldBy(latest, finalizer)
      ? undefined
      : [...(latest.metadata.finalizers ?? []), finalizer],
  );
}

/** Takes a finalizer away. */
export async function letGo(
  client: Pick<KubeClient, 'get' | 'patch'>,
  type: ResourceType,
  object: KubernetesObject,
  finalizer: string,
  signal: AbortSignal,
): Promise<void> {
  if (!isHeldBy(object, finalizer)) return;
  await change(client, type, object, signal, (latest) =>
    isHeldBy(latest, finalizer)
      ? latest.metadata.finalizers?.filter((entry) => entry !== finalizer)
      : undefined,
  );
}

/** The list is replaced as a whole, so that whoever has changed it meanwhile wins, and it is read again. */
async function change(
  client: Pick<KubeClient, 'get' | 'patch'>,
  type: ResourceType,
  object: KubernetesObject,
  signal: AbortSignal,
  wanted: (latest: KubernetesObject) => readonly string[] | undefined,
): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    const latest = await client.get<KubernetesObject>(type, keyOf(object), { signal });
    if (latest === undefined || latest.metadata.uid !== object.metadata.uid) return;
    const finalizers = wanted(latest);
    if (finalizers === undefined) return;
    const { resourceVersion } = latest.metadata;
    try {
      await client.patch(
        type,
        keyOf(object),
        { metadata: { finalizers, resourceVersion } },
        { type: 'merge', signal },
      );
      return;
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 409 || tries === maxTries) throw error;
    }
  }
}
