import type { Action } from './model.ts';
import { shardLabel } from './names.ts';

/**
 * Actions in the order in which they are carried out, those of a stage side by side: pods find their certificates, rights and
 * configuration when they start, so these come first.
 */
export function stagesOf(actions: readonly Action[]): (readonly Action[])[] {
  const stages: Action[][] = [[], [], [], [], [], []];
  for (const action of actions) stages[placeOf(action)]?.push(action);
  return stages.filter((stage) => stage.length > 0);
}

/**
 * Whether an action of a later stage needs what one that failed was to do: only what is of the same shard, or of all, does.
 * What happens inside servers neither waits nor is waited for: a migration that fails must not keep a broken pod from being
 * replaced, nor a quota that is used up a migration.
 */
export function needs(action: Action, failed: Action): boolean {
  if ([action, failed].some((each) => placeOf(each) === insideServers)) return false;
  const shard = shardOf(failed);
  return shard === undefined || shard === shardOf(action);
}

/** Undefined for what is of the cluster as a whole. */
function shardOf(action: Action): string | undefined {
  if (action.kind === 'apply' || action.kind === 'delete') return action.object.metadata.labels?.[shardLabel];
  return action.kind === 'issue-shard' ? action.shard : undefined;
}

const identities = 0;
const whatPodsNeed = 1;
const statefulSets = 2;
const insideServers = 3;
const deletions = 4;
/** A shard is known by its StatefulSet, which so goes last. */
const statefulSetDeletions = 5;

function placeOf(action: Action): number {
  switch (action.kind) {
    case 'create-authority':
    case 'rotate-authority':
    case 'issue-shard':
    case 'issue-operator':
    case 'generate-login':
    case 'write-secret':
      return identities;
    case 'apply':
      // A RoleBinding is refused before its Role is there; pods outlast the moment in which it is not.
      return ['RoleBinding', 'StatefulSet'].includes(action.object.kind) ? statefulSets : whatPodsNeed;
    case 'delete':
      return action.object.kind === 'StatefulSet' ? statefulSetDeletions : deletions;
    default:
      return insideServers;
  }
}
