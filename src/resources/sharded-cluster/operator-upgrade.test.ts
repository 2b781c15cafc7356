import { dump } from 'js-yaml';
import { beforeAll, describe, expect, it } from 'vitest';
import type { KubernetesObject } from '../../runtime/kubernetes-object.ts';
import type { PlanInput } from './model.ts';
import { appliedAnnotation } from './steps/objects.ts';
import { planOf, settled } from './test-support/advance.ts';
import { emptyWorld, observing, shardedCluster } from './test-support/world.ts';

/** What each object was applied from. (What the objects are, `desired/golden` holds.) */
function record({ observed }: PlanInput): string {
  const hashes = [...observed.objects].map(([id, { metadata }]) => [
    id,
    metadata.annotations?.[appliedAnnotation],
  ]);
  return dump(Object.fromEntries(hashes), { sortKeys: true });
}

describe('an operator upgrade', () => {
  let world: PlanInput;
  beforeAll(async () => {
    world = await settled(emptyWorld(shardedCluster()));
  });

  // What this file holds is what the last operator left at users'. An object with another hash is applied once more; if it
  // is a StatefulSet whose template differs, every pod of every user restarts: only for a reason that is worth that.
  it('finds the objects as the last one left them', async () => {
    await expect(record(world)).toMatchFileSnapshot('golden/applied.golden.yaml');
  });

  it('leaves alone what others changed on them since', () => {
    const objects = new Map(
      [...world.observed.objects].map(([id, object]): [string, KubernetesObject] => {
        const { [appliedAnnotation]: hash = '' } = object.metadata.annotations ?? {};
        const annotations = { [appliedAnnotation]: hash, 'example.com/injected': 'true' };
        return [id, { ...object, metadata: { ...object.metadata, annotations }, spec: { replaced: true } }];
      }),
    );
    expect(planOf(observing(world, { objects })).actions).toEqual([]);
  });
});
