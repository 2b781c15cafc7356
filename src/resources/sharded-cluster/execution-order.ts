import type { Action } from './model.ts';

/** Actions that are carried out side by side. */
export interface Stage {
  readonly actions: readonly Action[];
  /** Whether the stages after it need what it does, so that they are left out when it fails. */
  readonly isNeeded: boolean;
}

/**
 * Pods find their certificates, rights and configuration when they start, so these come first, each needed by what follows.
 * From then on no action waits for another's success: a migration that fails must not keep a broken pod from being
 * replaced, nor a volume that cannot grow a migration.
 */
export function stagesOf(actions: readonly Action[]): Stage[] {
  const stages: Action[][] = [[], [], [], [], [], []];
  for (const action of actions) stages[placeOf(action)]?.push(action);
  return stages
    .map((stage, place) => ({ actions: stage, isNeeded: place !== insideServers }))
    .filter((stage) => stage.actions.length > 0);
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
