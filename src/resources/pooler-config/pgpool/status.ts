import type { PoolerConfigStatus } from '../../../api/v1alpha1/pooler-config.ts';
import type { PgpoolNode } from '../../../postgres/pgpool.ts';
import type { Observed } from '../model.ts';
import type { Backend } from './backends.ts';

/** The servers as the instances see them, from what they said in this pass; without a plan, as they were. */
export function backendStatus(
  before: PoolerConfigStatus | undefined,
  backends: readonly Backend[] | undefined,
  observed: Pick<Observed, 'instances'>,
): PoolerConfigStatus['backends'] {
  if (backends === undefined) return before?.backends;
  const seen = observed.instances.flatMap(({ facts }) =>
    facts.state === 'present' ? (facts.value.nodes ?? []) : [],
  );
  return backends.flatMap((backend) => {
    const nodes = seen.filter((node) => node.host === backend.host);
    // A slot that nobody is in says nothing.
    if (backend.reason === 'it is not there') return [];
    return [
      {
        name: backend.name,
        weight: backend.weight,
        instances: nodes.filter((node) => node.up).length,
        lagSeconds: Math.max(0, ...nodes.map((node) => Math.floor(node.lagSeconds))),
        reads: Number(sum(nodes).toPrecision(2)),
        ...(backend.reason === undefined ? {} : { reason: backend.reason }),
      },
    ];
  });
}

function sum(nodes: readonly PgpoolNode[]): number {
  return nodes.reduce((total, node) => total + node.reads, 0);
}
