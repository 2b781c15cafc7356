import { expect, test } from 'vitest';
import type { ModelFacts } from '../../../postgres/read-model/subscriber.ts';
import type { Reading } from '../../../runtime/reading.ts';
import { lagOfStreams } from './stream-lag.ts';

type Sources = Parameters<typeof lagOfStreams>[1];

// Both primaries came to 200 at 1 s, and were seen there until 2 s.
const history = [
  { atMs: 500, untilMs: 900, position: 100 },
  { atMs: 1_000, untilMs: 2_000, position: 200 },
];
const histories = new Map([
  ['s0', history],
  ['s1', history],
]);
const present = { state: 'present', value: {} } as unknown as Sources[number]['facts'];
const silent: Sources[number]['facts'] = { state: 'unknown', error: new Error('it does not answer') };

function model(applied: readonly number[], isLive = true): Reading<ModelFacts> {
  const streams = applied.map((position, index) => ({ shard: `s${index}`, applied: position }));
  return { state: 'present', value: { copy: { live: isLive }, streams } as unknown as ModelFacts };
}

function source(shard: string, fields: Partial<Sources[number]> = {}): Sources[number] {
  return { shard, member: `shop-${shard}-0`, facts: present, ...fields };
}

test.each<{
  what: string;
  facts: Reading<ModelFacts>;
  sources: Sources;
  lag: ReturnType<typeof lagOfStreams>;
}>([
  {
    what: 'that of its worst stream',
    facts: model([200, 100]),
    sources: [source('s0'), source('s1')],
    lag: { bytes: 100, seconds: 9.1, exact: true },
  },
  {
    what: 'inferred while a primary does not answer: a stream that stands still is late',
    facts: model([200, 100]),
    sources: [source('s0'), source('s1', { facts: silent })],
    lag: { bytes: 100, seconds: 9.1, exact: false },
  },
  {
    what: 'not exact while a primary does not answer, since it may have gone on',
    facts: model([200, 200]),
    sources: [source('s0'), source('s1', { facts: silent })],
    lag: { bytes: 0, seconds: 0, exact: false },
  },
  {
    what: 'not known while a shard has no single primary',
    facts: model([200, 100]),
    sources: [source('s0'), source('s1', { member: undefined, facts: silent })],
    lag: undefined,
  },
  {
    what: 'not known without a stream',
    facts: model([200]),
    sources: [source('s0'), source('s1')],
    lag: undefined,
  },
  { what: 'not known in a cluster that tells of no shard', facts: model([200]), sources: [], lag: undefined },
  { what: 'none while it is copied', facts: model([200], false), sources: [source('s0')], lag: undefined },
])('the lag of a read model is $what', ({ facts, sources, lag }) => {
  expect(lagOfStreams(facts, sources, histories, 10_000)).toEqual(lag);
});
