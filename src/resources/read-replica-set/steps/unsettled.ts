import type { Finding, SetAction, SetInput } from '../model.ts';

/**
 * What has been asked for and is not seen to have an effect yet. Until Kubernetes and a server have looked at a change, nothing
 * shows that it leaves something to do.
 */
export function unsettled({ set, observed }: SetInput, actions: readonly SetAction[]): Finding[] {
  const applied = new Set(
    actions.flatMap((action) =>
      action.kind === 'apply' && action.object.kind === 'StatefulSet' ? [action.object.metadata.name] : [],
    ),
  );
  const shards = observed.shards.filter(
    ({ statefulSet, settled }) =>
      statefulSet !== undefined && (!settled || applied.has(statefulSet.metadata.name)),
  );
  const { status, metadata } = set;
  const isChanged =
    status?.observedGeneration !== metadata.generation ||
    (status?.conditions ?? []).some((found) => found.type === 'Progressing' && found.status === 'True');
  return [
    ...shards.map(({ name }) => ({
      reason: 'StatefulSetUnsettled',
      message: `shard ${name}: the StatefulSet controller has not caught up yet`,
    })),
    // An operator that was started anew asks again, which changes nothing.
    ...(observed.parameterProblems === undefined && isChanged
      ? [{ reason: 'CheckingParameters', message: 'a server of the cluster judges spec.parameters' }]
      : []),
  ];
}
