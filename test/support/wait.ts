/** What a probe found: `done` ends the waiting, `state` is what the error shows when time runs out. */
export type Probe<T> = { readonly done: T } | { readonly state: unknown };

/** How long to wait, and how often to look. */
export interface WaitOptions {
  /** 120 s by default. */
  readonly timeoutMs?: number;
  /** 200 ms by default. */
  readonly everyMs?: number;
}

/**
 * Looks until the probe is done, and returns what it found. A probe that throws counts as not done yet. The error at the end
 * says what was waited for and what was seen last.
 */
export async function waitFor<T>(
  description: string,
  probe: () => Promise<Probe<T>> | Probe<T>,
  { timeoutMs = 120_000, everyMs = 200 }: WaitOptions = {},
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    let last: unknown;
    try {
      const found = await probe();
      if ('done' in found) return found.done;
      last = found.state;
    } catch (error) {
      last = error;
    }
    if (performance.now() >= deadline) {
      throw new Error(`not within ${timeoutMs / 1000} s: ${description}; last seen: ${show(last)}`, {
        ...(last instanceof Error ? { cause: last } : {}),
      });
    }
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}

/** `waitFor` for a plain condition: `state` is shown when it never holds. */
export function waitUntil(
  description: string,
  holds: () => Promise<boolean> | boolean,
  state: () => unknown = () => 'the condition does not hold',
  options: WaitOptions = {},
): Promise<true> {
  return waitFor(
    description,
    async () => ((await holds()) ? { done: true as const } : { state: await state() }),
    options,
  );
}

function show(value: unknown): string {
  if (value instanceof Error) return value.message;
  return typeof value === 'string' ? value : (JSON.stringify(value)?.slice(0, 4000) ?? String(value));
}
