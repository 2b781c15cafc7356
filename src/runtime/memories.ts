import { keyOf, keyString, type ObjectKey, type ObjectMeta } from './kubernetes-object.ts';

/** What is remembered of objects between passes. One that was made again under its name is another, and begins anew. */
export interface Memories<T> {
  of(metadata: ObjectMeta, begin: () => T): T;
  /** When the object is gone. */
  forget(key: ObjectKey): void;
}

/** Nothing is remembered yet. */
export function createMemories<T>(): Memories<T> {
  const memories = new Map<string, { readonly uid: string | undefined; readonly memory: T }>();
  return {
    of(metadata, begin) {
      const key = keyString(keyOf({ metadata }));
      const known = memories.get(key);
      // A watch shows the last state alone: that there was none in between may never be seen.
      if (known !== undefined && known.uid === metadata.uid) return known.memory;
      const memory = begin();
      memories.set(key, { uid: metadata.uid, memory });
      return memory;
    },
    forget: (key) => void memories.delete(keyString(key)),
  };
}
