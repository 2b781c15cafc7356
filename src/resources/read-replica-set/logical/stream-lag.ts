import type { ModelFacts } from '../../../postgres/read-model/subscriber.ts';
import type { Reading } from '../../../runtime/reading.ts';
import { inferred, lagOf } from '../lag.ts';
import type { Lag } from '../rotation.ts';
import type { Sample } from '../staleness.ts';
import type { ModelSource } from './model.ts';

/**
 * How far a read model is behind its shards: the worst of its streams. It is not known while a shard has no single primary. While
 * that does not answer a stream is judged by where it was seen last: one that stands still since is late, and none is fresh.
 */
export function lagOfStreams(
  facts: Reading<ModelFacts>,
  sources: readonly Pick<ModelSource, 'shard' | 'member' | 'facts'>[],
  histories: ReadonlyMap<string, readonly Sample[]>,
  nowMs: number,
): Lag | undefined {
  if (facts.state !== 'present' || facts.value.copy?.live !== true) return undefined;
  const { streams } = facts.value;
  const lags = sources.map(({ shard, member, facts: source }) => {
    const applied = streams.find((stream) => stream.shard === shard)?.applied;
    if (member === undefined || applied === undefined) return undefined;
    const position = { received: applied, replayed: applied };
    const lag = lagOf(position, histories.get(shard), 0, nowMs);
    return source.state === 'present' ? lag : inferred(lag);
  });
  if (lags.length === 0) return undefined;
  return lags.reduce((worst, lag) =>
    worst === undefined || lag === undefined
      ? undefined
      : {
          bytes: Math.max(worst.bytes, lag.bytes),
          seconds: Math.max(worst.seconds, lag.seconds),
          exact: worst.exact && lag.exact,
        },
  );
}
