import { randomBytes } from 'node:crypto';
import { definitionOf, tablesOfShard } from '../../../postgres/read-model/definition.ts';
import { copyName, parseName, publicationName } from '../../../postgres/read-model/names.ts';
import {
  dropStaleSlots,
  grantCopy,
  makeSlot,
  publish,
  readSource,
  withdraw,
} from '../../../postgres/read-model/publisher.ts';
import {
  beginCopy,
  forgetCopy,
  markLive,
  pauseStream,
  resumeStream,
  type StreamSource,
  subscribe,
  unsubscribe,
} from '../../../postgres/read-model/subscriber.ts';
import {
  bucketsOf,
  copyOf,
  factsOf,
  freshMap,
  isMoving,
  type ModelExecution,
  type ModelPass,
  onMember,
  onSource,
  StepRefused,
  sourceOf,
  tell,
} from './context.ts';
import { garbageOn, isGarbage } from './garbage.ts';
import { isUntold, parseHistory, whyNoWayOn } from './history.ts';
import type { ModelMember, ModelSource, ModelStep } from './model.ts';
import { epochsOf, hasChanged } from './next-step.ts';
import { migrate, setUp } from './prepare.ts';

/** Carries out the step of one member. */
export async function executeStep(
  context: ModelExecution,
  pass: ModelPass,
  member: ModelMember,
  step: ModelStep,
): Promise<void> {
  switch (step.kind) {
    case 'set-up':
      return setUp(context, pass, member);
    case 'reset':
      return reset(context, pass, member, step.reason);
    case 'migrate':
      return migrate(context, pass, member, step);
    case 'begin':
      return begin(context, pass, member);
    case 'follow':
      return follow(context, pass, member, step);
    case 'unfollow':
      return unfollow(context, pass, member, step.shard);
    case 'redirect':
      return redirect(context, pass, member, step.shard);
    case 'go-live':
      return goLive(context, pass, member);
    case 'wait':
    case 'fail':
    case 'none':
      return;
  }
}

/** Streams end first, so that nothing of what they bring comes after; a shard that does not answer is cleared later. */
async function reset(
  context: ModelExecution,
  pass: ModelPass,
  member: ModelMember,
  reason: string,
): Promise<void> {
  const { streams } = factsOf(member);
  const names = streams.map(({ name }) => name);
  await onMember(context, pass, member, async (connection) => {
    for (const name of names) await pauseStream(connection, name);
    await unsubscribe(connection, names);
    await forgetCopy(
      connection,
      pass.tables.map(({ name }) => name),
    );
  });
  pass.memory.failed.delete(member.replica.name);
  tell(context, pass, 'Warning', 'CopiedAnew', `member ${member.replica.name} is copied anew: ${reason}`);
  const isOver = (name: string): boolean => {
    const parsed = parseName(name);
    return parsed?.set === pass.set.metadata.name && parsed.ordinal === member.replica.ordinal;
  };
  for (const source of pass.observation.sources.filter(({ facts }) => facts.state === 'present'))
    await onSource(context, pass, source, (connection) => withdraw(connection, isOver));
}

async function begin(context: ModelExecution, pass: ModelPass, member: ModelMember): Promise<void> {
  const map = await freshMap(context, pass);
  if (isMoving(map)) throw new Error('a bucket is about to move');
  const { name } = pass.set.metadata;
  const copy = copyName(name, member.replica.ordinal, randomBytes(3).toString('hex'));
  const first = pass.observation.sources[0];
  if (first?.facts.state !== 'present') throw new Error('the first shard does not answer');
  const { tables } = first.facts.value;
  await onMember(context, pass, member, (connection) =>
    beginCopy(connection, copy, definitionOf(pass.tables), pass.tables, tables, epochsOf(map)),
  );
  tell(context, pass, 'Normal', 'CopyBegan', `member ${member.replica.name} begins to copy its tables`);
}

async function follow(
  context: ModelExecution,
  pass: ModelPass,
  member: ModelMember,
  { shard, copyData }: Extract<ModelStep, { kind: 'follow' }>,
): Promise<void> {
  const copy = copyOf(member);
  const source = sourceOf(pass, shard);
  const publication = publicationName(pass.set.metadata.name, copy.definition);
  const stream = await onSource(context, pass, source, async (connection): Promise<StreamSource> => {
    const wanted = tablesOfShard(pass.tables, shard);
    const facts = await readSource(
      connection,
      wanted.map(({ name }) => name),
    );
    const published = await publish(connection, publication, wanted, facts.tables);
    if (published.kind === 'refused')
      throw new StepRefused('PublicationRefused', `shard ${shard}: ${published.message}`);
    const password = randomBytes(24).toString('base64url');
    await grantCopy(connection, copy.name, password, wanted, facts.tables);
    await makeSlot(connection, copy.name);
    return streamSource(context, pass, source, facts.timeline, password);
  });
  if (!copyData) {
    // From the slot on, everything that comes to the shard comes here; nothing may have come before.
    const map = await freshMap(context, pass);
    if (isMoving(map) || bucketsOf(map).some((bucket) => bucket.shard === shard)) {
      await onSource(context, pass, source, (connection) =>
        withdraw(connection, (name) => name === copy.name),
      );
      throw new Error(`a bucket moves, or has come to shard ${shard}`);
    }
  }
  await onMember(context, pass, member, (connection) =>
    subscribe(connection, copy.name, publication, stream, copyData),
  );
}

/** What the shard has said last is applied before it is let go. */
async function unfollow(
  context: ModelExecution,
  pass: ModelPass,
  member: ModelMember,
  shard: string,
): Promise<void> {
  const copy = copyOf(member);
  const stream = factsOf(member).streams.find((candidate) => candidate.shard === shard);
  if (stream === undefined) return;
  const map = await freshMap(context, pass);
  if (isMoving(map) || bucketsOf(map).some((bucket) => bucket.shard === shard)) return;
  const source = pass.observation.leaving.find((candidate) => candidate.shard === shard);
  if (source?.facts.state === 'present' && (stream.applied ?? 0) < source.facts.value.position)
    throw new Error(`shard ${shard} is followed to its end`);
  await onMember(context, pass, member, async (connection) => {
    await pauseStream(connection, stream.name);
    await unsubscribe(connection, [stream.name]);
  });
  if (source?.facts.state === 'present')
    await onSource(context, pass, source, (connection) => withdraw(connection, (name) => name === copy.name));
}

/** After a failover the new primary is followed, if it has all that the former one had sent. */
async function redirect(
  context: ModelExecution,
  pass: ModelPass,
  member: ModelMember,
  shard: string,
): Promise<void> {
  const copy = copyOf(member);
  const stream = factsOf(member).streams.find((candidate) => candidate.shard === shard);
  const source = sourceOf(pass, shard);
  const { shards } = pass.observation;
  if (stream === undefined || source.facts.state !== 'present' || shards === undefined) return;
  const { timeline } = source.facts.value;
  const applied = await onMember(context, pass, member, (connection) => pauseStream(connection, stream.name));
  const history = parseHistory(await shards.patroni(shard, source.address ?? '').history());
  const stopped = { source: stream.source, timeline: stream.timeline, applied };
  if (isUntold(stopped, timeline, history))
    throw new Error(
      `Patroni has not written down yet where timeline ${stream.timeline} of shard ${shard} ended`,
    );
  const problem = whyNoWayOn(stopped, timeline, history);
  if (problem !== undefined) return reset(context, pass, member, `shard ${shard}: ${problem}`);
  const wanted = tablesOfShard(pass.tables, shard);
  const next = await onSource(context, pass, source, async (connection) => {
    const password = randomBytes(24).toString('base64url');
    const facts = await readSource(
      connection,
      wanted.map(({ name }) => name),
    );
    await grantCopy(connection, copy.name, password, wanted, facts.tables);
    return streamSource(context, pass, source, facts.timeline, password);
  });
  await onMember(context, pass, member, (connection) => resumeStream(connection, copy.name, next));
  const { name } = member.replica;
  if (stream.source === source.member && stream.timeline === timeline)
    return tell(context, pass, 'Normal', 'StreamResumed', `member ${name} follows shard ${shard} again`);
  const note = `member ${name} follows ${source.member}, the primary of shard ${shard} on timeline ${timeline}`;
  tell(context, pass, 'Normal', 'StreamRedirected', note);
}

async function goLive(context: ModelExecution, pass: ModelPass, member: ModelMember): Promise<void> {
  const copy = copyOf(member);
  const map = await freshMap(context, pass);
  if (hasChanged(copy.buckets, map)) throw new Error('a bucket has moved while it was copied');
  await onMember(context, pass, member, (connection) => markLive(connection, copy.name, epochsOf(map)));
  tell(context, pass, 'Normal', 'CopyFinished', `member ${member.replica.name} has copied all its tables`);
}

/** Takes away what the set has on shards and needs no longer. */
export async function tidy(
  context: ModelExecution,
  pass: ModelPass,
  standbys: readonly { readonly shard: string; readonly address: string }[],
): Promise<void> {
  const { observation, set, tables } = pass;
  const isOver = isGarbage(set.metadata.name, tables, observation.members);
  for (const source of observation.sources) {
    const garbage = garbageOn(source, isOver);
    // The next copy of a member may have begun meanwhile.
    if (garbage.size > 0)
      await onSource(context, pass, source, (connection) =>
        withdraw(connection, (name) => garbage.has(name)),
      );
  }
  const { shards } = observation;
  if (shards === undefined) return;
  for (const { shard, address } of standbys)
    await context.connections.use(shards.asOperator(shard, address, 'postgres'), dropStaleSlots);
}

function streamSource(
  { addressOf }: ModelExecution,
  pass: ModelPass,
  source: ModelSource,
  timeline: number,
  password: string,
): StreamSource {
  const { shard, member = '' } = source;
  return { shard, member, timeline, password, address: addressOf(pass.cluster, shard, member) };
}
