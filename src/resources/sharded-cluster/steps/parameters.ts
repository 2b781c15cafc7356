import { parameterProblems } from '../desired/parameters.ts';
import { hashOf } from '../hash.ts';
import type { ObservedShard } from '../model.ts';

/** Parameters as `spec.postgres.parameters` gives them. */
export type Parameters = Readonly<Record<string, string>>;

/** Which of the user's parameters the servers shall have, and what became of those in the spec. */
export interface ParameterDecision {
  /** The user's parameters in force: those of the spec, or the last good ones while these are refused. */
  readonly use: Parameters;
  /** Set while the spec's parameters are refused. */
  readonly refused: { readonly hash: string; readonly message: string } | undefined;
  /** The last parameters that every server accepted. */
  readonly lastGood: Parameters | undefined;
}

/** What is remembered of earlier decisions, from the status. */
export interface ParameterMemory {
  readonly lastGood: Parameters | undefined;
  readonly refused: { readonly hash: string; readonly message: string } | undefined;
}

/**
 * A new server starts without the user's parameters, so that bad ones cannot keep it from starting; they are checked
 * against the running server first. What a server refuses is taken back everywhere, and not tried again before the spec changes.
 */
export function decideParameters(
  wanted: Parameters,
  memory: ParameterMemory,
  shards: readonly ObservedShard[],
  isApplied: (shard: ObservedShard, parameters: Parameters) => boolean,
): ParameterDecision {
  const { lastGood } = memory;
  const fallback = lastGood ?? {};
  const hash = hashOf(wanted);
  const refuse = (message: string): ParameterDecision => ({
    use: fallback,
    refused: { hash, message },
    lastGood,
  });
  const known = parameterProblems(wanted);
  if (known.length > 0) return refuse(known.map((problem) => problem.message).join('; '));
  if (memory.refused?.hash === hash) return refuse(memory.refused.message);
  const answering = shards.flatMap((shard) =>
    shard.database.state === 'present' ? [shard.database.value] : [],
  );
  const problems = new Set(
    answering.flatMap((facts) => facts.parameterProblems.map((problem) => problem.message)),
  );
  if (problems.size > 0) return refuse([...problems].join('; '));
  if (lastGood !== undefined && hashOf(lastGood) === hash)
    return { use: wanted, refused: undefined, lastGood };
  // Before anybody is asked whether they would do: a server that they keep from starting does not answer.
  const changed = Object.keys(wanted).filter((name) => wanted[name] !== fallback[name]);
  for (const shard of shards) {
    if (!isApplied(shard, wanted)) continue;
    const failure = failureOf(shard, changed);
    if (failure !== undefined) return refuse(failure);
  }
  if (answering.length === 0) {
    // While primaries change nobody answers for a moment, and what was handed out stays.
    const isUnderWay = shards.some((shard) => isApplied(shard, wanted));
    return { use: isUnderWay ? wanted : fallback, refused: undefined, lastGood };
  }
  const accepted =
    shards.length === answering.length &&
    shards.every((shard) => isApplied(shard, wanted) && isRunningThem(shard));
  return { use: wanted, refused: undefined, lastGood: accepted ? wanted : lastGood };
}

/** What a server says against parameters that it was already given. */
function failureOf(shard: ObservedShard, changed: readonly string[]): string | undefined {
  if (shard.database.state === 'present' && shard.database.value.fileErrors.length > 0) {
    return `shard ${shard.name}: ${shard.database.value.fileErrors.join('; ')}`;
  }
  const member = shard.failedStarts[0];
  if (member === undefined) return undefined;
  return `member ${member} does not start with ${changed.join(', ') || 'these parameters'}; its log says why`;
}

/** Whether the primary has taken parameters over, and no member waits for a restart to do so. */
function isRunningThem(shard: ObservedShard): boolean {
  if (shard.group.state !== 'present' || shard.database.state !== 'present') return false;
  if (!shard.database.value.runsWithParameters) return false;
  const facts = [...shard.group.value.members.values()];
  return facts.length > 0 && facts.every((member) => !member.pendingRestart);
}
