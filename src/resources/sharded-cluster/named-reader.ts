import type { KubeClient } from '../../runtime/kube-client.ts';
import {
  type KubernetesObject,
  keyString,
  type ObjectKey,
  type ResourceType,
} from '../../runtime/kubernetes-object.ts';
import type { Reading } from '../../runtime/reading.ts';

/** Reads single objects by name and remembers them for a while, so that an idle cluster costs hardly a request. */
export interface NamedReader<T extends KubernetesObject> {
  /** The object as it was at most `maxAgeMs` ago. What is unknown is asked again at the next call. */
  read(key: ObjectKey, maxAgeMs: number, signal: AbortSignal): Promise<Reading<T>>;
  /** Notes what a write of ours left. */
  note(object: T): void;
  /** Forgets everything of a name, so that the next call asks. */
  forget(key: ObjectKey): void;
}

/** Twice as long as anybody takes what was read for good: who asks no more is gone, and passwords with them. */
const unreadMs = 1_800_000;

/** Does not keep the process alive. */
function sometime(ms: number, call: () => void): void {
  setTimeout(call, ms).unref();
}

interface Remembered<T> {
  readonly reading: Reading<T>;
  readonly atMs: number;
  readMs: number;
}

/** A reader of one type. */
export function createNamedReader<T extends KubernetesObject>(
  client: Pick<KubeClient, 'read'>,
  type: ResourceType,
  monotonicMs: () => number,
  after: (ms: number, call: () => void) => unknown = sometime,
): NamedReader<T> {
  const remembered = new Map<string, Remembered<T>>();
  let willSweep = false;
  const sweepLater = (): void => {
    if (willSweep || remembered.size === 0) return;
    willSweep = true;
    after(unreadMs, () => {
      willSweep = false;
      for (const [key, { readMs }] of remembered) {
        if (monotonicMs() - readMs >= unreadMs) remembered.delete(key);
      }
      sweepLater();
    });
  };
  const remember = (key: ObjectKey, reading: Reading<T>): Reading<T> => {
    const nowMs = monotonicMs();
    if (reading.state === 'present') remembered.set(keyString(key), { reading, atMs: nowMs, readMs: nowMs });
    else remembered.delete(keyString(key));
    sweepLater();
    return reading;
  };
  return {
    async read(key, maxAgeMs, signal) {
      const known = remembered.get(keyString(key));
      if (known !== undefined && monotonicMs() - known.atMs <= maxAgeMs) {
        known.readMs = monotonicMs();
        return known.reading;
      }
      return remember(key, await client.read<T>(type, key, { signal, timeoutMs: 5_000 }));
    },
    note(object) {
      const { name, namespace = '' } = object.metadata;
      remember({ namespace, name }, { state: 'present', value: object });
    },
    forget(key) {
      remembered.delete(keyString(key));
    },
  };
}
