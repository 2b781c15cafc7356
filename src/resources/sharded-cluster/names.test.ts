import { expect, test } from 'vitest';
import {
  claimName,
  memberLabels,
  memberSelector,
  podName,
  podOrdinal,
  selectorText,
  serverNames,
  shardIndex,
  shardName,
} from './names.ts';

test('names of shards and members can be read back', () => {
  for (const index of [0, 7, 127]) expect(shardIndex(shardName(index))).toBe(index);
  expect(podOrdinal('shop', 's1', podName('shop', 's1', 2))).toBe(2);
  expect(claimName('shop', 's1', 2)).toBe('data-shop-s1-2');
});

test.each(['s', 's01', 'x1', 's1x', 's-1', ''])('"%s" is no shard', (name) => {
  expect(shardIndex(name)).toBeUndefined();
});

test('a pod of another shard or cluster has no ordinal here', () => {
  expect(podOrdinal('shop', 's1', 'shop-s10-0')).toBeUndefined();
  expect(podOrdinal('shop', 's1', 'shop-s1-rw')).toBeUndefined();
  expect(podOrdinal('shop', 's1', 'workshop-s1-0')).toBeUndefined();
});

test("a member's labels contain what selects it", () => {
  expect(memberLabels('shop', 's0')).toMatchObject(memberSelector('shop', 's0'));
  expect(selectorText(memberSelector('shop', 's0'))).toBe(
    'herdsman.dev/component=member,herdsman.dev/scope=shop-s0',
  );
});

test('certificates are valid for every way to address a shard', () => {
  expect(serverNames('shop', 's0', 'ns')).toEqual([
    'shop-s0-rw',
    'shop-s0-rw.ns',
    'shop-s0-rw.ns.svc',
    'shop-s0-rw.ns.svc.cluster.local',
    'shop-s0-ro',
    'shop-s0-ro.ns',
    'shop-s0-ro.ns.svc',
    'shop-s0-ro.ns.svc.cluster.local',
    '*.shop-s0.ns.svc',
    '*.shop-s0.ns.svc.cluster.local',
    'localhost',
  ]);
});
