import type { ShardMapSpec } from '../../src/api/v1alpha1/shard-map.ts';
import type { Table } from '../../src/api/v1alpha1/table.ts';
import { readCatalog } from '../../src/postgres/catalog.ts';
import { type ConversionStep, readConversions, refusable } from '../../src/postgres/conversion/context.ts';
import { lookAtTables } from '../../src/postgres/conversion/look.ts';
import { findConversionObstacles } from '../../src/postgres/conversion/obstacles.ts';
import { performConversionStep } from '../../src/postgres/conversion/perform.ts';
import { replaceEmpty } from '../../src/postgres/conversion/replace-empty.ts';
import { type ConversionPlan, planConversion } from '../../src/sharding/conversion/plan.ts';
import { layoutOf } from '../../src/sharding/layout.ts';
import { gatheredGroup, reconcileMap } from '../../src/sharding/map.ts';
import type { TestShard, World } from '../postgres/world.ts';

/** A cluster whose tables are converted by one operator after another. */
export class Conversions {
  map: ShardMapSpec = { cluster: 'test', epoch: 1, groups: [] };
  tables: readonly Table[] = [];
  retentionMs = 3_600_000;
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  /** What is to be done about a group now. */
  async plan(name: string): Promise<ConversionPlan> {
    const { layout, shards } = await this.#look(name);
    return planConversion({
      name,
      wanted: layout.groups.find((group) => group.name === name),
      shards,
      map: this.map,
      retentionMs: this.retentionMs,
      nowMs: Date.now(),
    });
  }

  /** Does it; `during` may disturb the session meanwhile. */
  async perform(
    plan: ConversionPlan,
    during?: (shard: TestShard) => void,
  ): Promise<ConversionStep | 'obstacles'> {
    if (plan.kind === 'forget-group') {
      this.map = { ...this.map, epoch: this.map.epoch + 1, groups: [] };
      return { kind: 'done' };
    }
    if (plan.kind === 'replace') {
      for (const name of plan.shards) {
        const shard = this.#shard(name);
        const result = await refusable(() =>
          replaceEmpty(shard.operator, plan.group, plan.to, this.#world.shards.indexOf(shard)),
        );
        if (result.kind !== 'done') return result;
      }
      return { kind: 'done' };
    }
    if (plan.kind !== 'step') throw new Error(JSON.stringify(plan));
    const shard = this.#shard(plan.shard);
    if (plan.step === 'stage' && (await findConversionObstacles(shard.operator, plan.group)).length > 0)
      return 'obstacles';
    const [conversion] = (await readConversions(shard.operator)).filter(
      ({ group }) => group === plan.group.name,
    );
    const epoch = this.map.epoch + 1;
    const owned = gatheredGroup(plan.group, plan.shard, epoch);
    const endpoint = { host: `${plan.shard}.test`, port: 5432, dbname: shard.database };
    const working = performConversionStep(shard.operator, { group: plan.group, owned, endpoint }, plan.step, {
      conversion,
      epoch,
      isTimeUp: () => false,
    });
    during?.(shard);
    return working;
  }

  /** Goes on until the plan is as wanted; answers the kinds of steps that were done. */
  async run(name: string, until: (plan: ConversionPlan) => boolean): Promise<string[]> {
    const steps: string[] = [];
    for (let tries = 0; tries < 200; tries += 1) {
      const plan = await this.plan(name);
      if (until(plan)) return steps;
      const result = await this.perform(plan);
      if (result === 'obstacles') throw new Error('obstacles');
      if (result.kind === 'done') steps.push(plan.kind === 'step' ? plan.step : plan.kind);
      else if (result.kind === 'changed') {
        const shard = plan.kind === 'step' ? plan.shard : 's0';
        steps.push(`changed: ${result.reason}`);
        await this.perform({
          kind: 'step',
          step: 'tidy',
          shard,
          group: plan.kind === 'step' ? plan.group : never(),
        });
      } else if (!['Locked', 'OldSnapshot', 'CatchingUp', 'Overtaken', 'Copying'].includes(result.reason))
        throw new Error(`${JSON.stringify(plan)}: ${result.reason}: ${result.message}`);
    }
    throw new Error(`no end: ${steps.join(', ')}`);
  }

  /** What the cluster's own reconciling makes of the map. */
  async adopt(): Promise<void> {
    const markers = new Map<string, { shard: string; epoch: number }>();
    for (const shard of this.#world.shards) {
      for (const { name, epoch } of (await readCatalog(shard.operator)).markers) {
        if (epoch !== null) markers.set(name, { shard: shard.name, epoch });
      }
    }
    const shards = this.#world.shards.map(({ name }) => ({ name }));
    const { map, problems } = reconcileMap(this.map, layoutOf(this.tables), shards, markers);
    if (problems.length > 0) throw new Error(JSON.stringify(problems));
    this.map = map;
  }

  async #look(name: string) {
    const layout = layoutOf(this.tables);
    const shards = [];
    const known = (
      await Promise.all(this.#world.shards.map((shard) => readConversions(shard.operator)))
    ).flat();
    const groups = [...layout.groups, ...known.map((row) => row.layout)].filter(
      (group) => group.name === name,
    );
    const names = [...new Set(groups.flatMap((group) => group.tables.map((table) => table.name)))];
    for (const shard of this.#world.shards)
      shards.push(await lookAtTables(shard.operator, shard.name, name, names));
    return { layout, shards };
  }

  #shard(name: string): TestShard {
    const found = this.#world.shards.find((shard) => shard.name === name);
    if (found === undefined) throw new Error(`no shard ${name}`);
    return found;
  }
}

function never(): never {
  throw new Error('not a step');
}

/** Whether the way back is open and nothing else is to be done. */
export function isFollowing(plan: ConversionPlan): boolean {
  return plan.kind === 'step' && plan.step === 'follow';
}
