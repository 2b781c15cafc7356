/** What is done to a member beside the passes, so that no look at lag waits for a server or a Patroni that hangs. */
export type WorkKind = 'end-sessions' | 'reload' | 'restart' | 'reinitialize';

/** How far a piece of work is. */
export type WorkState =
  | { readonly state: 'running' }
  | { readonly state: 'done' }
  | { readonly state: 'failed'; readonly message: string };

/** Work on members, by pod uid and kind; `endedMs` is missing while it runs. */
export type WorkMemory = Map<string, Map<WorkKind, WorkState & { readonly endedMs?: number }>>;

/** It is not begun again for so long: kubelets deliver what a reload reads in their own time, and what failed may fail again. */
const restMs: Readonly<Record<WorkKind, number>> = {
  // Those that have only just begun are left alone for as long.
  'end-sessions': 500,
  reload: 3_000,
  restart: 3_000,
  reinitialize: 3_000,
};

/** Work on the member with this pod that runs, or has ended only just. */
export function workOf(memory: WorkMemory, uid: string, nowMs: number): ReadonlyMap<WorkKind, WorkState> {
  const known = memory.get(uid);
  for (const [kind, { endedMs }] of known ?? [])
    if (endedMs !== undefined && nowMs - endedMs >= restMs[kind]) known?.delete(kind);
  return new Map(known);
}

/** Begins work unless it runs, and does not wait for it: its end is seen in a later pass. */
export function beginWork(
  memory: WorkMemory,
  uid: string,
  kind: WorkKind,
  monotonicMs: () => number,
  work: () => Promise<unknown>,
): void {
  const known = memory.get(uid) ?? new Map();
  if (known.get(kind)?.state === 'running') return;
  memory.set(uid, known.set(kind, { state: 'running' }));
  work().then(
    () => known.set(kind, { state: 'done', endedMs: monotonicMs() }),
    (error: unknown) => {
      const message = error instanceof Error ? error.message : String(error);
      known.set(kind, { state: 'failed', message, endedMs: monotonicMs() });
    },
  );
}
