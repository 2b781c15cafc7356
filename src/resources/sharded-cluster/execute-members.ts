import type { Connection } from '../../postgres/connection.ts';
import { renewMemberSlot } from '../../postgres/member-slots.ts';
import type { PatroniApi } from '../../postgres/patroni-api.ts';
import { configMapType } from '../../runtime/kubernetes-types.ts';
import type { ExecutionContext, Pass } from './execute.ts';
import type { Action } from './model.ts';
import { initializeAnnotation, patroniState } from './names.ts';
import type { GatedShard } from './pooler-gate.ts';
import { servedBy } from './serving.ts';

type MembersAction = Extract<
  Action,
  { kind: 'patch-config' | 'restart' | 'reinitialize' | 'switchover' | 'reload' | 'clear-claim' }
>;

/** Asks Patroni to do what concerns its members. */
export async function executeMembers(
  context: ExecutionContext,
  pass: Pass,
  action: MembersAction,
): Promise<void> {
  switch (action.kind) {
    case 'patch-config':
      await patroniOf(pass, action.shard, undefined).patchConfig(action.patch);
      return;
    case 'restart': {
      const restart = async () => {
        await patroniOf(pass, action.shard, action.member).restart({ timeoutSeconds: 60 });
      };
      const role = leaderOf(pass, action.shard) === action.member ? 'rw' : 'ro';
      await context.gate.whilePaused(gatedShard(context, pass, action.shard, role), restart, pass.signal);
      return record(context, pass, 'MemberRestarted', 'Restart', `member ${action.member} was restarted`);
    }
    case 'reinitialize': {
      const { shard, member, evidence } = action;
      await onPrimary(context, pass, shard, (connection) => renewMemberSlot(connection, member));
      await patroniOf(pass, shard, member).reinitialize({ force: true });
      const note = `member ${member} is copied anew: ${evidence}`;
      return record(context, pass, 'MemberCopiedAnew', 'Reinitialize', note);
    }
    case 'reload':
      await patroniOf(pass, action.shard, action.member).reload();
      return;
    case 'clear-claim':
      return clearClaim(context, pass, action);
    case 'switchover': {
      const { shard, leader, candidate } = action;
      // It leaves little for the checkpoint with which the old primary stops.
      await onPrimary(context, pass, shard, (connection) => connection.query({ text: 'CHECKPOINT' }));
      const switchover = async () => {
        await patroniOf(pass, shard, leader).switchover({ leader, candidate });
      };
      await context.gate.whilePaused(gatedShard(context, pass, shard, 'rw'), switchover, pass.signal);
      return record(
        context,
        pass,
        'SwitchoverDone',
        'Switchover',
        `shard ${shard}: ${candidate} took over from ${leader}`,
      );
    }
  }
}

/** Clients go on when one that connects by the Service, as poolers do, finds a server that serves. */
function gatedShard(
  { sources }: ExecutionContext,
  { cluster, access }: Pass,
  shard: string,
  role: 'rw' | 'ro',
): GatedShard {
  const { name, namespace } = cluster.metadata;
  const key = { namespace, cluster: name, shard };
  return {
    ...key,
    database: cluster.spec.postgres.database,
    role,
    servedBy: (patienceMs) => servedBy(sources, access, key, role, patienceMs),
  };
}

/**
 * Removes what has the uid. If that is the pod of a member, clients of poolers that it serves wait until it is gone and another
 * serves, as far as they may.
 */
export async function whileMemberGoes(
  context: ExecutionContext,
  pass: Pass,
  uid: string,
  remove: () => Promise<void>,
): Promise<void> {
  const shard = pass.observed.shards.find(({ members }) =>
    members.some(({ pod }) => pod?.metadata.uid === uid),
  );
  const member = shard?.members.find(({ pod }) => pod?.metadata.uid === uid);
  if (shard === undefined || member === undefined || !member.ready) return remove();
  const { name } = member;
  const { namespace } = pass.cluster.metadata;
  const role = leaderOf(pass, shard.name) === name ? 'rw' : 'ro';
  const gated = gatedShard(context, pass, shard.name, role);
  const isThere = () => context.sources.pods.cache.get({ namespace, name })?.metadata.uid === uid;
  await context.gate.whilePaused(
    // As long as it is there it may answer, and is about to stop.
    {
      ...gated,
      servedBy: async (patienceMs) => (isThere() ? undefined : gated.servedBy(patienceMs)),
    },
    remove,
    pass.signal,
  );
}

/** Removes the claim, if nobody has made it good meanwhile. */
async function clearClaim(
  context: ExecutionContext,
  pass: Pass,
  { shard, claim }: Extract<Action, { kind: 'clear-claim' }>,
): Promise<void> {
  const { name, namespace } = pass.cluster.metadata;
  const path = `/metadata/annotations/${initializeAnnotation}`;
  const patch = [
    { op: 'test', path, value: claim },
    { op: 'remove', path },
  ];
  const key = { namespace, name: patroniState(name, shard, 'config') };
  await context.client.patch(configMapType, key, patch, { type: 'json', signal: pass.signal });
  record(
    context,
    pass,
    'InitialisationRepeated',
    'Bootstrap',
    claim === ''
      ? `shard ${shard}: its first initialisation was cut off`
      : `shard ${shard}: it is made anew, since what was known of it is of volumes that are gone`,
  );
}

/** Does something on the primary of a shard. */
async function onPrimary(
  { connections }: ExecutionContext,
  pass: Pass,
  shard: string,
  work: (connection: Connection) => Promise<unknown>,
): Promise<void> {
  const { access } = pass;
  if (access === undefined) return;
  await connections.use(access.asOperator(shard, addressOf(pass, shard, undefined), 'postgres'), work);
}

function patroniOf(pass: Pass, shard: string, member: string | undefined): PatroniApi {
  if (pass.access === undefined) throw new Error("the operator's certificate is not there yet");
  return pass.access.patroni(shard, addressOf(pass, shard, member), 5_000);
}

/** Address of a member, or of the shard's leader. */
export function addressOf(pass: Pass, shard: string, member: string | undefined): string {
  const observed = pass.observed.shards.find((candidate) => candidate.name === shard);
  const name = member ?? leaderOf(pass, shard);
  const address = observed?.members.find((candidate) => candidate.name === name)?.pod?.status?.podIP;
  if (address === undefined)
    throw new Error(`shard ${shard} has no member ${name ?? 'that leads'} with an address`);
  return address;
}

function leaderOf(pass: Pass, shard: string): string | undefined {
  const group = pass.observed.shards.find((candidate) => candidate.name === shard)?.group;
  return group?.state === 'present' ? group.value.leader : undefined;
}

function record(context: ExecutionContext, pass: Pass, reason: string, action: string, note: string): void {
  context.events.record(pass.cluster, { type: 'Normal', reason, action, note });
}
