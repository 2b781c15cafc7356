import type { ConversionStatus } from '../../api/v1alpha1/conversion.ts';
import type { ShardedClusterStatus } from '../../api/v1alpha1/sharded-cluster.ts';
import type { ConditionInput } from '../../runtime/conditions.ts';
import { type Conversion, isBeforeSwitch } from '../../sharding/conversion/model.ts';
import { reversibleUntilMs } from '../../sharding/conversion/plan.ts';
import type { ShardedCluster } from '../sharded-cluster/model.ts';
import { conditionsBefore, merged } from '../sharded-cluster/status.ts';
import { ofGeneration } from '../sharded-cluster/status-conditions.ts';

/** The fields of `status` that conversions write. */
export type OwnStatus = Pick<ShardedClusterStatus, 'conversions' | 'conditions'>;

/** How one group stands after a pass. */
export interface GroupReport {
  readonly group: string;
  readonly shard: string | undefined;
  readonly conversion: Conversion | undefined;
  readonly outcome:
    | { readonly kind: 'going' }
    | { readonly kind: 'waiting' | 'refused'; readonly reason: string; readonly message: string };
}

/** The status, from zero; nothing while no table is converted. */
export function statusOf(
  cluster: Pick<ShardedCluster, 'metadata' | 'status'>,
  reports: readonly GroupReport[],
  retentionMs: number,
  now: Date,
): OwnStatus {
  const [first] = reports;
  if (first === undefined) return {};
  const conditions = ofGeneration(cluster.metadata.generation, [conditionOf(reports)]);
  return {
    conversions: reports.map((report) => entryOf(report, retentionMs)),
    conditions: merged(conditionsBefore(cluster.status), conditions, now),
  };
}

function entryOf({ group, shard, conversion, outcome }: GroupReport, retentionMs: number): ConversionStatus {
  const { switchedAtMs = null, fenceMs = null } = conversion ?? {};
  const isOpen = conversion !== undefined && ['switched', 'owned', 'settled'].includes(conversion.phase);
  return {
    group,
    ...(shard === undefined ? {} : { shard }),
    phase: outcome.kind === 'refused' ? 'refused' : (conversion?.phase ?? 'waiting'),
    ...(conversion?.phase === 'copying' ? { progress: progressOf(conversion) } : {}),
    ...(fenceMs === null ? {} : { fenceMs: Math.ceil(fenceMs) }),
    ...(switchedAtMs === null ? {} : { switchedAt: new Date(switchedAtMs).toISOString() }),
    ...(isOpen
      ? { reversibleUntil: new Date(reversibleUntilMs(conversion, retentionMs)).toISOString() }
      : {}),
    ...(outcome.kind === 'going' ? {} : { reason: outcome.reason, message: outcome.message }),
  };
}

function progressOf({ tables }: Conversion): string {
  const blocks = tables.reduce((sum, table) => sum + table.blocks, 0);
  const copied = tables.reduce((sum, table) => sum + Math.min(table.next, table.blocks), 0);
  return `${blocks === 0 ? 100 : Math.floor((100 * copied) / blocks)} %`;
}

function conditionOf(reports: readonly GroupReport[]): ConditionInput {
  const type = 'Converted';
  const refused = reports.find(({ outcome }) => outcome.kind === 'refused');
  if (refused !== undefined && refused.outcome.kind === 'refused') {
    return { type, status: 'False', reason: refused.outcome.reason, message: refused.outcome.message };
  }
  const open = reports.find(({ conversion }) => conversion === undefined || isBeforeSwitch(conversion));
  if (open !== undefined) {
    const phase = open.conversion?.phase ?? 'waiting';
    return {
      type,
      status: 'False',
      reason: 'Converting',
      message: `group "${open.group}" is in the phase ${phase}`,
    };
  }
  const names = reports.map(({ group }) => group).join(', ');
  return {
    type,
    status: 'True',
    reason: 'Converted',
    message: `the tables of group ${names} are distributed`,
  };
}
