import type { Connections } from '../../postgres/connections.ts';
import { checkParameters, probeParameters, readSettings } from '../../postgres/parameters.ts';
import { readingOf } from '../../runtime/reading.ts';
import { parameterProblems } from '../sharded-cluster/desired/parameters.ts';
import { hashOf } from '../sharded-cluster/hash.ts';
import type { ShardAccess } from '../sharded-cluster/shard-access.ts';
import { type Inquiry, remembered } from './inquiry.ts';
import type { ObservedReplicaShard } from './model.ts';

/** For how long a server's judgement is good. */
const parametersMs = 300_000;

/** What a server of the cluster has against `spec.parameters`; `undefined` until the first that can be asked has said. */
export async function readParameterProblems(
  context: Pick<Inquiry, 'set' | 'memory' | 'monotonicMs'> & {
    readonly access: ShardAccess;
    readonly connections: Connections;
  },
  shards: readonly ObservedReplicaShard[],
): Promise<readonly string[] | undefined> {
  const { set, access, memory, connections, monotonicMs } = context;
  const { parameters } = set.spec;
  if (Object.keys(parameters).length === 0) return [];
  const hash = hashOf(parameters);
  const known = memory.parameterProblems?.hash === hash ? memory.parameterProblems : undefined;
  const fresh = remembered(context, known, parametersMs);
  if (fresh !== undefined) return fresh;
  for (const { name, primary } of shards) {
    if (primary.state !== 'present') continue;
    const { address } = primary.value;
    const own = parameterProblems(parameters);
    const reading = await readingOf(() =>
      connections.use(access.asOperator(name, address, 'postgres'), async (connection) => {
        const settings = await readSettings(connection);
        const problems = [...own, ...checkParameters(parameters, settings)];
        return problems.length > 0 ? problems : probeParameters(connection, parameters, settings);
      }),
    );
    if (reading.state !== 'present') return known?.value;
    const value = [...new Set(reading.value.map(({ message }) => message))];
    memory.parameterProblems = { hash, value, atMs: monotonicMs() };
    return value;
  }
  return known?.value;
}
