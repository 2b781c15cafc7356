/**
 * The outcome of a read as a value. `unknown` is neither present nor absent, and nothing destructive may follow from it:
 * the compiler makes whoever wants `absent` say so.
 */
export type Reading<T> =
  | { readonly state: 'present'; readonly value: T }
  | { readonly state: 'absent' }
  | { readonly state: 'unknown'; readonly error: Error };

/** Makes a reading of a call that returns `undefined` for absent and throws for everything else. */
export async function readingOf<T>(read: () => Promise<T | undefined>): Promise<Reading<T>> {
  try {
    const value = await read();
    return value === undefined ? { state: 'absent' } : { state: 'present', value };
  } catch (error) {
    return { state: 'unknown', error: error instanceof Error ? error : new Error(String(error)) };
  }
}
