import type { GroupFacts, MemberFacts, ObservedMember, ObservedShard } from '../model.ts';

/** What a test says of a member; what it leaves out is as on a healthy member. */
export interface MemberSketch {
  readonly ready?: boolean;
  readonly outdated?: boolean;
  readonly losesVolume?: boolean;
  readonly missing?: boolean;
  readonly deleting?: boolean;
  readonly waiting?: string;
  readonly zone?: string;
  readonly facts?: Partial<MemberFacts> | 'unknown';
}

/** Builds an observed shard for tests: member 0 leads unless told otherwise. */
export function sketchShard(
  sketches: readonly MemberSketch[],
  options: {
    leader?: number;
    settled?: boolean;
    group?: 'unknown' | 'absent';
    paused?: boolean;
    quorum?: boolean;
    replicas?: number;
  } = {},
): ObservedShard {
  const leader = options.leader ?? 0;
  const names = sketches.map((_, ordinal) => `shop-s0-${ordinal}`);
  const group: GroupFacts = {
    leader: names[leader],
    paused: options.paused ?? false,
    quorum: options.quorum ?? false,
    members: new Map(
      sketches.flatMap((sketch, ordinal) =>
        sketch.facts === 'unknown'
          ? []
          : [[`shop-s0-${ordinal}`, factsOf(sketch.facts, ordinal === leader)] as const],
      ),
    ),
  };
  return {
    name: 's0',
    index: 0,
    statefulSet: {
      apiVersion: 'apps/v1',
      kind: 'StatefulSet',
      metadata: { name: 'shop-s0' },
      spec: { replicas: options.replicas ?? sketches.length },
    },
    settled: options.settled ?? true,
    members: sketches.map((sketch, ordinal) => memberOf(sketch, ordinal)),
    claims: [],
    group:
      options.group === 'unknown'
        ? { state: 'unknown', error: new Error('connection refused') }
        : options.group === 'absent'
          ? { state: 'absent' }
          : { state: 'present', value: group },
    config: { state: 'absent' },
    abandonedClaim: undefined,
    failedStarts: [],
    strays: [],
    staleCertificates: [],
    database: { state: 'absent' },
  };
}

function memberOf(sketch: MemberSketch, ordinal: number): ObservedMember {
  const name = `shop-s0-${ordinal}`;
  const ready = sketch.ready ?? true;
  return {
    name,
    ordinal,
    ready: ready && sketch.missing !== true && sketch.deleting !== true,
    outdated: sketch.outdated ?? false,
    losesVolume: sketch.losesVolume ?? false,
    zone: sketch.zone,
    pod:
      sketch.missing === true
        ? undefined
        : {
            apiVersion: 'v1',
            kind: 'Pod',
            metadata: {
              name,
              uid: `uid-${ordinal}`,
              ...(sketch.deleting === true ? { deletionTimestamp: '2026-01-01T00:00:00Z' } : {}),
            },
            status: {
              phase: 'Running',
              ...(sketch.waiting === undefined
                ? {}
                : {
                    containerStatuses: [
                      { name: 'postgres', ready: false, state: { waiting: { reason: sketch.waiting } } },
                    ],
                  }),
            },
          },
  };
}

function factsOf(facts: Partial<MemberFacts> | undefined, leads: boolean): MemberFacts {
  return {
    role: leads ? 'primary' : 'standby',
    state: leads ? 'running' : 'streaming',
    timeline: 1,
    lagBytes: 0,
    sync: !leads,
    pendingRestart: false,
    pendingParameters: [],
    ...facts,
  };
}
