import { describe, expect, it } from 'vitest';
import type { ObservedShard, PlanInput } from '../model.ts';
import { roleLabel } from '../names.ts';
import { sketchShard } from '../test-support/sketch-shard.ts';
import { stalePrimaries } from './stale-primary.ts';

function labelled(shard: ObservedShard, ordinal: number, role: string): ObservedShard {
  const members = shard.members.map((member) =>
    member.ordinal !== ordinal || member.pod === undefined
      ? member
      : {
          ...member,
          pod: { ...member.pod, metadata: { ...member.pod.metadata, labels: { [roleLabel]: role } } },
        },
  );
  return { ...shard, members };
}

function relabelled(shard: ObservedShard): string[] {
  const result = stalePrimaries({ observed: { shards: [shard] } } as unknown as PlanInput);
  return (result.actions ?? []).flatMap((action) =>
    action.kind === 'relabel' ? [action.pod.metadata.name] : [],
  );
}

describe('stalePrimaries', () => {
  it('takes the label from a member that another has taken over from', () => {
    const shard = labelled(labelled(sketchShard([{}, {}, {}], { leader: 1 }), 0, 'primary'), 1, 'primary');
    expect(relabelled(shard)).toEqual(['shop-s0-0']);
  });

  it('leaves it its place while the one that leads has no label yet', () => {
    expect(relabelled(labelled(sketchShard([{}, {}, {}], { leader: 1 }), 0, 'primary'))).toEqual([]);
  });

  it('leaves the leader and the standbys alone', () => {
    const shard = labelled(labelled(sketchShard([{}, {}, {}], { leader: 1 }), 1, 'primary'), 0, 'replica');
    expect(relabelled(shard)).toEqual([]);
  });

  it('does nothing while it is not known who leads', () => {
    expect(relabelled(labelled(sketchShard([{}, {}], { group: 'unknown' }), 0, 'primary'))).toEqual([]);
    expect(relabelled(labelled(sketchShard([{}, {}], { leader: 9 }), 0, 'primary'))).toEqual([]);
  });
});
