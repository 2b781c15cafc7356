import { memberSlotName } from '../../../postgres/member-slots.ts';
import { parseName } from '../../../postgres/read-model/names.ts';
import type { KubernetesObject } from '../../../runtime/kubernetes-object.ts';
import { ownerCounts } from '../../../sharding/map.ts';
import { isOfMove } from '../../../sharding/move/names.ts';
import { farewellMs, senders } from '../forgotten.ts';
import { resourceTypeOf } from '../kinds.ts';
import type { PersistentVolumeClaim } from '../kubernetes.ts';
import { type Action, type ObservedShard, type PlanInput, proceed, type StepResult } from '../model.ts';
import { maxMembers, podName, shardLabel } from '../names.ts';
import { wantedNames } from '../wanted-shards.ts';
import { factsOf } from './shards.ts';

/** Whether a shard may go: only on proof that it is empty. */
export type EmptinessDecision =
  | { readonly kind: 'empty'; readonly evidence: string }
  | { readonly kind: 'draining'; readonly message: string }
  | { readonly kind: 'refused'; readonly reason: string; readonly message: string }
  | { readonly kind: 'unknown'; readonly message: string };

/** Why there are more shards than were asked for. */
export function choice({ obstacle }: PlanInput): StepResult {
  return obstacle ?? proceed;
}

/** Takes away shards that are not wanted any more, each only when it is proved empty; volumes stay. */
export function removal(input: PlanInput): StepResult {
  const { cluster, observed } = input;
  const wanted = wantedNames(cluster);
  const surplus = observed.shards.filter((shard) => !wanted.includes(shard.name));
  const decided = surplus.map((shard) => ({ shard, decision: decideEmptiness(input, shard) }));
  const next = decided.find(({ decision }) => decision.kind === 'empty') ?? decided.at(-1);
  if (next === undefined) return proceed;
  const { shard, decision } = next;
  if (decision.kind === 'refused')
    return { kind: 'fail', reason: decision.reason, message: decision.message };
  if (decision.kind === 'draining')
    return { kind: 'wait', reason: 'Draining', message: decision.message, afterMs: 2_000 };
  if (decision.kind === 'unknown')
    return { kind: 'wait', reason: 'ShardUnknown', message: decision.message, afterMs: 5_000 };
  const note = `shard ${shard.name} is taken away: ${decision.evidence}; its volumes stay`;
  return {
    kind: 'wait',
    reason: 'RemovingShard',
    message: note,
    afterMs: 1_000,
    actions: [
      { kind: 'event', type: 'Normal', reason: 'ShardRemoved', note },
      ...removeObjects(input, shard, decision.evidence),
    ],
  };
}

/** Whether the shard owns no bucket, holds no rows, and nothing is under way on it. */
export function decideEmptiness({ cluster, observed }: PlanInput, shard: ObservedShard): EmptinessDecision {
  if (observed.map.state !== 'present')
    return { kind: 'unknown', message: 'the ShardMap is not known, so no shard is taken away' };
  const owned = Object.entries(ownerCounts(observed.map.value.spec).get(shard.name) ?? {}).filter(
    ([, count]) => count > 0,
  );
  const { mode, dryRun } = cluster.spec.rebalance;
  if (owned.length > 0 && mode === 'auto' && !dryRun && cluster.spec.tables.length > 0) {
    const why = cluster.status?.shards?.leaving?.find(({ name }) => name === shard.name)?.why;
    return {
      kind: 'draining',
      message: `shard ${shard.name} is emptied before it goes${why === undefined ? '' : ` (${why})`}: see status.rebalance`,
    };
  }
  if (owned.length > 0) {
    const list = owned.map(([group, count]) => `${count} of group "${group}"`).join(', ');
    return {
      kind: 'refused',
      reason: 'ShardOwnsBuckets',
      message:
        `shard ${shard.name} owns buckets (${list}), so it stays: raise spec.shards.count to ` +
        `${observed.shards.length}, write "mode: auto" in spec.rebalance, or move its buckets away by ShardMoves`,
    };
  }
  if (shard.claims.every(wasNeverBound) && shard.members.every((member) => !member.ready)) {
    return { kind: 'empty', evidence: 'it owns no bucket, and no volume of it was ever bound' };
  }
  const facts = factsOf(shard);
  if (facts?.catalog === undefined) {
    return {
      kind: 'unknown',
      message: `shard ${shard.name} shall go, and stays until its primary has shown that it is empty`,
    };
  }
  // What is being copied there has neither a marker nor a slot, and its rows are not to be seen before the end.
  if (observed.movingShards?.includes(shard.name) === true || facts.catalog.moving.length > 0) {
    const message = `shard ${shard.name} takes part in a ShardMove: it goes when that has ended ("spec.cancel: true" ends it sooner)`;
    return { kind: 'draining', message };
  }
  const { markers } = facts.catalog;
  const { preparedTransactions, otherDatabases } = facts;
  const refuse = (message: string): EmptinessDecision => ({
    kind: 'refused',
    reason: 'ShardNotEmpty',
    message,
  });
  // Deleting a ShardMove in its retention ends that at once.
  const ending = (what: string): EmptinessDecision => ({
    kind: 'draining',
    message: `shard ${shard.name} has the ${what} of a ShardMove: it goes when that and its retention are over`,
  });
  if (markers.length > 0)
    return refuse(`shard ${shard.name} has ${markers.length} markers of buckets, so it stays`);
  if (preparedTransactions > 0) {
    return refuse(`shard ${shard.name} has ${preparedTransactions} prepared transactions: end them first`);
  }
  const ownSlots = new Set(
    Array.from({ length: maxMembers }, (_, ordinal) =>
      memberSlotName(podName(cluster.metadata.name, shard.name, ordinal)),
    ),
  );
  // Patroni keeps the slot of a read replica that is gone for a while, in case that it comes back.
  const ofReplica = new RegExp(`_${shard.name}_replicas_\\d+$`);
  const slot = facts.stats.slots.find(
    ({ name, active }) => !ownSlots.has(name) && (active || !ofReplica.test(name)),
  );
  if (slot !== undefined && isOfMove(slot.name)) return ending(`slot "${slot.name}"`);
  if (slot !== undefined && parseName(slot.name) !== undefined) {
    const message = `shard ${shard.name} goes when read models have let it go: slot "${slot.name}"`;
    return { kind: 'draining', message };
  }
  if (slot !== undefined && ofReplica.test(slot.name)) {
    const message = `shard ${shard.name} goes when its read replicas have: slot "${slot.name}"`;
    return { kind: 'draining', message };
  }
  if (slot !== undefined)
    return refuse(`shard ${shard.name} has the replication slot "${slot.name}": drop it first`);
  if (otherDatabases.length > 0) {
    return refuse(`shard ${shard.name} has the database "${otherDatabases[0]}": move or drop it first`);
  }
  const references = new Set(
    cluster.spec.tables.filter((table) => table.strategy === 'reference').map((table) => table.name),
  );
  const table = facts.tablesWithRows.find((name) => !references.has(name));
  if (table !== undefined && isOfMove(table)) return ending(`table "${table}"`);
  if (table !== undefined)
    return refuse(`shard ${shard.name} has rows in table "${table}": move or delete them first`);
  const farewell = farewellOf({ cluster, observed }, shard);
  if (farewell !== undefined) return { kind: 'draining', message: farewell };
  return {
    kind: 'empty',
    evidence: 'it owns no bucket, and has no marker, slot, prepared transaction, database or row of its own',
  };
}

/** Why clients that follow the map may still come to the shard: one that is gone would be an error to them. */
function farewellOf(
  { cluster, observed }: Pick<PlanInput, 'cluster' | 'observed'>,
  { name, forgottenMs = 0 }: ObservedShard,
): string | undefined {
  const others = senders({ ...observed, wanted: wantedNames(cluster) }, name);
  if (others.length > 0)
    return `shard ${name} is empty, and goes when herdsman.shard_map names it on no shard: now on ${others.join(', ')}`;
  if (forgottenMs >= farewellMs) return undefined;
  return `shard ${name} is empty, and goes in some seconds, when whoever was sent there has been sent on`;
}

/** A claim that is bound, or lost what it was bound to, may have held data. */
function wasNeverBound({ spec, status }: PersistentVolumeClaim): boolean {
  return (status?.phase ?? 'Pending') === 'Pending' && spec?.volumeName === undefined;
}

/** The StatefulSet goes last, since a shard is known by it. All is judged again on the map as the API server has it. */
function removeObjects({ observed }: PlanInput, shard: ObservedShard, evidence: string): Action[] {
  const ofShard = [...observed.objects.values()].filter(
    (object) => object.metadata.labels?.[shardLabel] === shard.name,
  );
  const rest = ofShard.filter((object) => object.kind !== 'StatefulSet');
  const remove = (object: KubernetesObject): Action => ({
    kind: 'delete',
    type: resourceTypeOf(object),
    object,
    uid: object.metadata.uid ?? '',
    evidence,
    mapVersion: observed.map.state === 'present' ? (observed.map.value.metadata.resourceVersion ?? '') : '',
  });
  return [...rest.map(remove), ...(shard.statefulSet === undefined ? [] : [remove(shard.statefulSet)])];
}
