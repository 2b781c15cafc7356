import { checkParameters, probeParameters, readSettings } from '../../postgres/parameters.ts';
import { readingOf } from '../../runtime/reading.ts';
import { parameterProblems } from '../sharded-cluster/desired/parameters.ts';
import { hashOf } from '../sharded-cluster/hash.ts';
import { askBeside, type Inquiry, remembered } from './inquiry.ts';
import type { ObservedReplicaShard } from './model.ts';

/** For how long a server's judgement is good. */
const parametersMs = 300_000;

type ParameterInquiry = Pick<Inquiry, 'set' | 'access' | 'memory' | 'connections' | 'monotonicMs'>;

/**
 * What a server of the cluster has against `spec.parameters`; `undefined` until the first that can be asked has said. It is
 * asked beside the passes, since judging takes longer than a look at lag.
 */
export function readParameterProblems(
  inquiry: ParameterInquiry,
  shards: readonly ObservedReplicaShard[],
): readonly string[] | undefined {
  const { set, memory } = inquiry;
  const { parameters } = set.spec;
  if (Object.keys(parameters).length === 0) return [];
  const hash = hashOf(parameters);
  const known = memory.parameterProblems?.hash === hash ? memory.parameterProblems : undefined;
  if (remembered(inquiry, known, parametersMs) === undefined)
    askBeside(memory, 'parameters', () => judge(inquiry, shards, hash));
  return known?.value;
}

async function judge(
  { set, access, memory, connections, monotonicMs }: ParameterInquiry,
  shards: readonly ObservedReplicaShard[],
  hash: string,
): Promise<void> {
  const { parameters } = set.spec;
  const [asked] = shards.flatMap(({ name, primary }) =>
    primary.state === 'present' ? [{ name, address: primary.value.address }] : [],
  );
  if (asked === undefined) return;
  const own = parameterProblems(parameters);
  const reading = await readingOf(() =>
    connections.use(access.asOperator(asked.name, asked.address, 'postgres'), async (connection) => {
      const settings = await readSettings(connection);
      const problems = [...own, ...checkParameters(parameters, settings)];
      return problems.length > 0 ? problems : probeParameters(connection, parameters, settings);
    }),
  );
  if (reading.state !== 'present') return;
  const value = [...new Set(reading.value.map(({ message }) => message))];
  memory.parameterProblems = { hash, value, atMs: monotonicMs() };
}
