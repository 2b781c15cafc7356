/** The end of one timeline of a shard, as Patroni keeps it. */
export interface TimelineEnd {
  readonly timeline: number;
  /** Bytes of WAL since the beginning of time up to which the next timeline has what this one had. */
  readonly position: number;
  /** Who led from there on, when it is known. */
  readonly leader: string | undefined;
}

/** Reads what Patroni answers to `GET /history`; what is not understood is left out. */
export function parseHistory(rows: readonly (readonly unknown[])[]): TimelineEnd[] {
  return rows.flatMap(([timeline, position, , , leader]): TimelineEnd[] =>
    typeof timeline === 'number' && typeof position === 'number'
      ? [{ timeline, position, leader: typeof leader === 'string' ? leader : undefined }]
      : [],
  );
}

/** A stream that was followed from a pod, and has been stopped. */
export interface StoppedStream {
  readonly source: string | undefined;
  readonly timeline: number | undefined;
  /** Bytes of WAL up to which it is applied. */
  readonly applied: number;
}

/** Whether Patroni has yet to write down where the stream's timeline ended: it does so a moment after the promotion. */
export function isUntold({ timeline }: StoppedStream, now: number, history: readonly TimelineEnd[]): boolean {
  return timeline !== undefined && timeline < now && history.every((end) => end.timeline < timeline);
}

/**
 * Why a stream cannot go on from the primary of the moment; `undefined`: it can. What the former primary had sent after the point
 * from which the new one went its own way is in the read model and nowhere else.
 */
export function whyNoWayOn(
  { source, timeline, applied }: StoppedStream,
  now: number,
  history: readonly TimelineEnd[],
): string | undefined {
  if (timeline === undefined) return 'nobody knows on which timeline it was';
  if (timeline === now) return undefined;
  if (timeline > now) return `the shard has gone back from timeline ${timeline} to ${now}`;
  const since = history.filter((end) => end.timeline >= timeline && end.timeline < now);
  const end = since.find((candidate) => candidate.timeline === timeline);
  if (end === undefined) return `nobody knows where timeline ${timeline} of the shard ended`;
  // A server that started again on its own is behind nothing that it had sent.
  const isWhole = since.some((candidate) => candidate.timeline === now - 1);
  if (isWhole && since.every(({ leader }) => leader !== undefined && leader === source)) return undefined;
  const ends = Math.min(...since.map(({ position }) => position));
  return applied <= ends ? undefined : 'it has changes of the former primary that the present one never had';
}
