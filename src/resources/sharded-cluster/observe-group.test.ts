import { describe, expect, it } from 'vitest';
import type { ClusterView, PatroniApi } from '../../postgres/patroni-api.ts';
import type { ObservedMember } from './model.ts';
import { groupFacts, readGroup } from './observe-group.ts';

const view: ClusterView = {
  scope: 'shop-s0',
  members: [
    { name: 'shop-s0-0', role: 'leader', state: 'running', timeline: 3 },
    { name: 'shop-s0-1', role: 'quorum_standby', state: 'streaming', timeline: 3, lag: 42 },
    {
      name: 'shop-s0-2',
      role: 'replica',
      state: 'start failed',
      lag: 'unknown',
      pending_restart: true,
      pending_restart_reason: { max_connections: { old_value: 200, new_value: '100' } },
    },
  ],
};

describe("Patroni's view of a shard", () => {
  it('is put into our terms', () => {
    expect(groupFacts(view)).toEqual({
      leader: 'shop-s0-0',
      paused: false,
      quorum: true,
      members: new Map([
        [
          'shop-s0-0',
          {
            role: 'primary',
            state: 'running',
            timeline: 3,
            lagBytes: undefined,
            sync: false,
            pendingRestart: false,
            pendingParameters: [],
          },
        ],
        [
          'shop-s0-1',
          {
            role: 'standby',
            state: 'streaming',
            timeline: 3,
            lagBytes: 42,
            sync: true,
            pendingRestart: false,
            pendingParameters: [],
          },
        ],
        [
          'shop-s0-2',
          {
            role: 'standby',
            state: 'start failed',
            timeline: undefined,
            lagBytes: undefined,
            sync: false,
            pendingRestart: true,
            pendingParameters: [{ name: 'max_connections', from: '200', to: '100' }],
          },
        ],
      ]),
    });
  });

  it('may have no leader, and say that it is paused', () => {
    expect(groupFacts({ members: [], pause: true })).toEqual({
      leader: undefined,
      paused: true,
      quorum: false,
      members: new Map(),
    });
  });

  it('knows synchronous standbys of both modes', () => {
    const roles = ['sync_standby', 'quorum_standby', 'replica'];
    const members = roles.map((role) => ({ name: role, role, state: 'streaming' }));
    expect(groupFacts({ members }).quorum).toBe(true);
    const facts = groupFacts({ members }).members;
    expect(roles.map((role) => facts.get(role)?.sync)).toEqual([true, true, false]);
  });
});

interface Answer {
  readonly cluster: () => Promise<ClusterView>;
  readonly config?: () => Promise<Record<string, unknown>>;
}

/** Members by address, and the order in which they were asked. */
function asked(answers: Readonly<Record<string, Answer>>) {
  const order: string[] = [];
  const patroni = (address: string): Pick<PatroniApi, 'cluster' | 'config'> => ({
    cluster: () => {
      order.push(address);
      return answers[address]?.cluster() ?? Promise.reject(new Error(`${address} refused the connection`));
    },
    config: () => answers[address]?.config?.() ?? Promise.resolve({ ttl: 15 }),
  });
  return { patroni, order };
}

function member(
  ordinal: number,
  change: { role?: string; ready?: boolean; deleting?: boolean } = {},
): ObservedMember {
  const name = `shop-s0-${ordinal}`;
  return {
    name,
    ordinal,
    ready: change.ready ?? true,
    outdated: false,
    losesVolume: false,
    zone: undefined,
    pod: {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: {
        name,
        labels: { 'herdsman.dev/role': change.role ?? 'replica' },
        ...(change.deleting === true ? { deletionTimestamp: '2026-01-10T00:00:00Z' } : {}),
      },
      status: {
        podIP: `10.0.0.${ordinal}`,
        conditions: [{ type: 'Ready', status: change.ready === false ? 'False' : 'True' }],
      },
    },
  };
}

describe('readGroup', () => {
  const answers = (...ordinals: number[]) =>
    Object.fromEntries(ordinals.map((ordinal) => [`10.0.0.${ordinal}`, { cluster: async () => view }]));

  it('asks the primary first, then who is ready, and is content with one answer', async () => {
    const members = [member(0, { ready: false }), member(1), member(2, { role: 'primary' })];
    const all = asked(answers(0, 1, 2));
    expect(await readGroup(members, all.patroni)).toMatchObject({
      group: { state: 'present', value: { leader: 'shop-s0-0' } },
      config: { state: 'present', value: { ttl: 15 } },
    });
    expect(all.order).toEqual(['10.0.0.2']);
    const last = asked(answers(0));
    expect(await readGroup(members, last.patroni)).toMatchObject({ group: { state: 'present' } });
    expect(last.order).toEqual(['10.0.0.2', '10.0.0.1', '10.0.0.0']);
  });

  it('is unknown when nobody answers, and absent when there is nobody', async () => {
    const { patroni } = asked({});
    const unknown = await readGroup([member(0), member(1)], patroni);
    expect(unknown.group).toMatchObject({
      state: 'unknown',
      error: { message: expect.stringContaining('refused') },
    });
    expect(unknown.config.state).toBe('unknown');
    const nobody = await readGroup([member(0, { deleting: true })], patroni);
    expect(nobody).toEqual({ group: { state: 'absent' }, config: { state: 'absent' } });
  });

  it('does not take a configuration that cannot be read for an empty one', async () => {
    const { patroni } = asked({
      '10.0.0.0': { cluster: async () => view, config: () => Promise.reject(new Error('timeout')) },
    });
    expect(await readGroup([member(0)], patroni)).toMatchObject({
      group: { state: 'present' },
      config: { state: 'unknown' },
    });
  });
});
