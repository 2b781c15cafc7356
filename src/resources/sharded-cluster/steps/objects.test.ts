import { describe, expect, it } from 'vitest';
import { objectId, objectsToApply, withAppliedHash } from './objects.ts';

const service = (port: number) => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 'shop-s0-rw', namespace: 'shop' },
  spec: { ports: [{ port }] },
});

describe('objectsToApply', () => {
  it('applies what is missing, with the hash of what it was made from', () => {
    expect(objectsToApply([service(5432)], new Map())).toEqual([withAppliedHash(service(5432))]);
  });

  it('leaves what was applied from the same, whatever others added to it', () => {
    const live = withAppliedHash(service(5432));
    const touched = { ...live, spec: { ...live.spec, sessionAffinity: 'ClientIP' } };
    expect(objectsToApply([service(5432)], new Map([[objectId(live), touched]]))).toEqual([]);
  });

  it('applies again when what is wanted has changed', () => {
    const live = withAppliedHash(service(5432));
    expect(objectsToApply([service(6432)], new Map([[objectId(live), live]]))).toEqual([
      withAppliedHash(service(6432)),
    ]);
  });

  it('waits for an object that is being deleted to be gone', () => {
    const live = withAppliedHash(service(5432));
    const deleting = { ...live, metadata: { ...live.metadata, deletionTimestamp: '2026-01-01T00:00:00Z' } };
    expect(objectsToApply([service(6432)], new Map([[objectId(live), deleting]]))).toEqual([]);
  });

  it('scales a StatefulSet back that somebody else has scaled', () => {
    const wanted = { ...service(5432), kind: 'StatefulSet', spec: { replicas: 3 } };
    const live = withAppliedHash(wanted);
    const among = (spec: object) => new Map([[objectId(live), { ...live, spec }]]);
    for (const replicas of [0, 2, 5])
      expect(objectsToApply([wanted], among({ replicas }))).toEqual([withAppliedHash(wanted)]);
    expect(objectsToApply([wanted], among({ replicas: 3, minReadySeconds: 1 }))).toEqual([]);
  });
});
