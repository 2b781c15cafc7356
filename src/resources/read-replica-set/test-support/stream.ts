import type { ModelStream } from '../../../postgres/read-model/subscriber.ts';

/** A stream of a copy that runs and has applied all. */
export function sketchStream(copy: string, shard: string, fields: Partial<ModelStream> = {}): ModelStream {
  return {
    name: `${copy}_${shard}`,
    shard,
    applied: 100,
    running: true,
    enabled: true,
    waitsFor: undefined,
    truncated: false,
    applyErrors: 0,
    syncErrors: 0,
    copying: [],
    source: `shop-${shard}-0`,
    timeline: 1,
    ...fields,
  };
}
