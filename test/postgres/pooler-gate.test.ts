import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type GatedShards, noGatedShards } from '../../src/resources/pooler-config/gated-shards.ts';
import type { Server } from '../../src/resources/sharded-cluster/pooler-gate.ts';
import { gatedShard, never, type PoolerScene, startPoolerScene } from '../support/pooler-scene.ts';
import { waitUntil } from '../support/wait.ts';

let scene: PoolerScene;

beforeAll(async () => {
  scene = await startPoolerScene();
});

afterAll(() => scene?.end());

describe('the gate', () => {
  let gated: GatedShards;

  beforeEach(() => {
    gated = noGatedShards();
  });

  const paused = () =>
    Promise.all(
      [0, 1].map((instance) =>
        scene.withConsole(instance, async (console) =>
          (await console.showDatabases()).some((database) => Number(database.paused) === 1),
        ),
      ),
    );

  it('lets nobody be at work meanwhile, and nobody sees an error', async () => {
    let ending = false;
    let done = 0;
    const errors: string[] = [];
    const working = Array.from({ length: 40 }, async (_, index) => {
      const each = await scene.client({ instance: index % 2 });
      while (!ending) {
        try {
          await each.query('BEGIN');
          await each.query('SELECT pg_sleep(0.003)');
          await each.query('COMMIT');
          done += 1;
        } catch (error) {
          errors.push(String(error));
          break;
        }
      }
      await each.end();
    });
    await waitUntil('clients are at work', () => done > 100);
    let serving = false;
    await scene.gate({ gated }).whilePaused(
      { ...gatedShard, servedBy: async () => (serving ? { id: 'the primary' } : undefined) },
      async () => {
        const busy = await scene.operator.query({
          text: "SELECT FROM pg_stat_activity WHERE usename = 'app' AND xact_start IS NOT NULL",
        });
        expect(busy).toEqual([]);
        expect(gated.held).toEqual(new Set(['uid-0/app', 'uid-1/app']));
        setTimeout(() => {
          serving = true;
        }, 100);
      },
      never,
    );
    expect(serving).toBe(true);
    const before = done;
    await waitUntil('clients go on', () => done > before + 100);
    ending = true;
    await Promise.all(working);
    expect(errors).toEqual([]);
    expect(gated.held.size).toBe(0);
    expect([...gated.switched.keys()]).toEqual(['store/web/s0']);
    expect(await paused()).toEqual([false, false]);
  });

  it('lets clients go on when another server serves, though nobody has reported the end of the work yet', async () => {
    const waiting = await scene.client();
    const finish = Promise.withResolvers<void>();
    let server: Server = { id: 'the old primary', address: '10.0.0.1' };
    const passing = scene
      .gate({ gated })
      .whilePaused({ ...gatedShard, servedBy: async () => server }, () => finish.promise, never);
    await waitUntil('it is held', () => gated.held.size === 2);
    const answer = waiting.query('SELECT 1');
    server = { id: 'the new primary', address: '10.0.0.2' };
    await answer;
    await waitUntil('it is noted', () => gated.switched.get('store/web/s0')?.to === '10.0.0.2');
    finish.resolve();
    await passing;
    await waiting.end();
  });

  it('is another one for those that write than for those that read', async () => {
    const seen: boolean[][] = [];
    const look = async () => void seen.push(await paused());
    await scene
      .gate({ gated, spec: { target: { cluster: 'shop', role: 'ro' } } })
      .whilePaused(gatedShard, look, never);
    await scene.gate({ gated }).whilePaused({ ...gatedShard, role: 'ro' }, look, never);
    expect(seen).toEqual([
      [false, false],
      [false, false],
    ]);
    const readers = scene.gate({ gated, spec: { target: { cluster: 'shop', role: 'ro' } } });
    await readers.whilePaused({ ...gatedShard, role: 'ro' }, look, never);
    expect(seen[2]).toEqual([true, true]);
    expect(gated.switched.size).toBe(0);
  });

  it('holds back the clients of an instance that is about to go, too', async () => {
    const look = async () => expect(await paused()).toEqual([true, true]);
    await scene.gate({ gated, going: [1] }).whilePaused(gatedShard, look, never);
    expect(await paused()).toEqual([false, false]);
  });

  it('lets clients go on when maxPause is over, though the work is not done', async () => {
    const waiting = await scene.client();
    const finish = Promise.withResolvers<void>();
    const passing = scene
      .gate({ gated, spec: { maxPause: '2s' } })
      .whilePaused(gatedShard, () => finish.promise, never);
    await waitUntil('it is held', () => gated.held.size === 2);
    await waiting.query('SELECT 1');
    finish.resolve();
    await passing;
    await waiting.end();
    expect(await paused()).toEqual([false, false]);
  });

  it('lets clients go on when the work fails, and says why', async () => {
    const passing = scene.gate({ gated }).whilePaused(
      gatedShard,
      async () => {
        throw new Error('no candidate');
      },
      never,
    );
    await expect(passing).rejects.toThrow('no candidate');
    expect(await paused()).toEqual([false, false]);
    expect(gated.switched.size).toBe(0);
  });

  it('does not wait for a transaction that takes longer than its share', async () => {
    const slow = await scene.client();
    await slow.query('BEGIN; SELECT 1');
    let done = false;
    await scene.gate({ gated, spec: { maxPause: '2s' } }).whilePaused(
      gatedShard,
      async () => {
        done = true;
      },
      never,
    );
    expect(done).toBe(true);
    await slow.query('COMMIT');
    await slow.end();
  });

  it('does without poolers that do not answer, and does nothing with maxPause 0s', async () => {
    await scene.gate({ gated, instances: [7] }).whilePaused(gatedShard, async () => undefined, never);
    await scene
      .gate({ gated, spec: { maxPause: '0s' } })
      .whilePaused(gatedShard, async () => expect(await paused()).toEqual([false, false]), never);
  });
});

it('no connections are kept open while clients are held back, since each that is closed counts as a failed login', async () => {
  const spec = { minPoolSize: 5 };
  const least = () =>
    scene.withConsole(0, async (console) => (await console.showConfig()).get('min_pool_size'));
  await scene.withInstance(spec, async () => {
    const asking = await scene.client();
    await asking.query('SELECT 1');
    await scene.gate({ spec, instances: [0] }).whilePaused(
      gatedShard,
      async () => {
        await waitUntil('none are kept', async () => (await least()) === '0');
      },
      never,
    );
    expect(await least()).toBe('5');
    await asking.query('SELECT 1');
    await asking.end();
  });
});

it('an instance that answers nobody keeps nobody waiting for it', async () => {
  // Whoever connects is taken by the machine, and hears nothing.
  const silent = createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1');
  await once(silent, 'listening');
  const { port } = silent.address() as AddressInfo;
  const there = scene.poolers;
  scene.poolers = { ...there, console: () => ({ ...there.console(0), port }) };
  try {
    let isDone = false;
    await scene.gate({ instances: [0] }).whilePaused(
      gatedShard,
      async () => {
        isDone = true;
      },
      never,
    );
    expect(isDone).toBe(true);
  } finally {
    scene.poolers = there;
    silent.close();
  }
});

describe('the guard in the pod', () => {
  it('lets clients go on when nobody else does', async () => {
    await scene.poolers.write({ maxPause: '2s' });
    const stop = scene.poolers.guard(0);
    const waiting = await scene.client();
    await scene.withConsole(0, (console) => console.pause('app'));
    await waiting.query('SELECT 1');
    await waiting.end();
    await stop();
  });
});
