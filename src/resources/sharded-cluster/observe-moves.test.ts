import { expect, it } from 'vitest';
import { hasReshaped } from './observe-moves.ts';

const move = (operation: string, phase?: string) => ({ spec: { operation }, status: { phase } });

it.each<[string, object | undefined, object | undefined, boolean]>([
  ['has isolated a tenant', move('isolate', 'finish'), move('isolate', 'retain'), true],
  ['has split a bucket', move('split', 'finish'), move('split', 'done'), true],
  ['takes a switch back', move('merge', 'switch'), move('merge', 'failed'), true],
  ['goes on', move('split', 'switch'), move('split', 'finish'), false],
  ['keeps its buckets as they are', move('move', 'finish'), move('move', 'done'), false],
  ['has begun', move('split', 'copy'), move('split', 'catch-up'), false],
  ['is new', undefined, move('split'), false],
  ['is gone', move('split', 'done'), undefined, false],
])('a move that %s', (_, old, current, isAwaited) => {
  expect(hasReshaped({ kind: 'updated', old, current } as never)).toBe(isAwaited);
});
