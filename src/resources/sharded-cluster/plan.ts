import type { Action, PlanInput, StepResult } from './model.ts';
import type { Outcome, Plan } from './plan-result.ts';
import { durability } from './steps/durability.ts';
import { firstHomes, homeZones } from './steps/home-zone.ts';
import { certificates, logins } from './steps/identity.ts';
import type { Parameters } from './steps/parameters.ts';
import { referenceTables } from './steps/reference-tables.ts';
import { choice, removal } from './steps/removal.ts';
import { schema } from './steps/schema.ts';
import { setUp } from './steps/set-up.ts';
import { buckets, map } from './steps/shard-map.ts';
import { stalePrimaries } from './steps/stale-primary.ts';
import { strays } from './steps/strays.ts';
import { leaves, tables } from './steps/tables.ts';
import { bootstrap, configuration, longWork, objects, renewals, rollout, volumes } from './steps/topology.ts';

/** One step of a track: looks at what was observed, and says what to do and whether to go on. */
interface Step {
  readonly name: string;
  readonly run: (input: PlanInput, parameters: Parameters) => StepResult;
}

/**
 * Three tracks, each in order; a track stops at the first step that waits or fails. Without identities nothing else can be
 * done; after that, a rollout that waits or fails does not hold up a migration, nor the other way round. Nothing
 * that would cut off a migration is done while one is under way.
 */
const identityTrack: readonly Step[] = [
  { name: 'certificates', run: certificates }, // the CA, members' and operator's certificates
];
const topologyTrack: readonly Step[] = [
  { name: 'objects', run: objects }, // StatefulSets, Services, rights, disruption budgets; number of members
  { name: 'stale-primaries', run: stalePrimaries }, // a lost primary leaves the -rw Service
  { name: 'strays', run: strays }, // standbys that have lost touch with their primary
  { name: 'bootstrap', run: bootstrap }, // an initialisation that was cut off is begun again
  { name: 'renewals', run: renewals }, // members take renewed certificates over
  { name: 'volumes', run: volumes }, // grow
  { name: 'configuration', run: configuration }, // Patroni's dynamic configuration
  { name: 'long-work', run: longWork }, // is not cut off
  { name: 'rollout', run: rollout }, // standbys, switchover, old primary; one shard at a time
  { name: 'removal', run: removal }, // shards that are not wanted any more, when proved empty
  { name: 'first-homes', run: firstHomes }, // primaries of a new cluster into their zone
  { name: 'durability', run: durability }, // commits wait for a standby, where promised
  { name: 'home-zones', run: homeZones }, // primaries back to their zone
  { name: 'choice', run: choice }, // shards that should go and may not
];
const contentTrack: readonly Step[] = [
  { name: 'logins', run: logins }, // passwords for people and applications
  { name: 'set-up', run: setUp }, // roles, database, Herdsman's schemas
  { name: 'map', run: map }, // agrees with the layout; rebuilt when it was lost
  { name: 'schema', run: schema }, // the user's migrations
  { name: 'tables', run: tables }, // are as spec.tables describes them
  { name: 'reference-tables', run: referenceTables }, // rows for shards that joined later
  { name: 'buckets', run: buckets }, // which shard owns which
  { name: 'leaves', run: leaves }, // and markers, of the buckets that a shard owns
];

/** Decides everything that one pass does. Pure and total: what is unknown is in `observed`, as unknown. */
export function plan(input: PlanInput, parameters: Parameters): Plan {
  const identity = runTrack('identity', identityTrack, input, parameters);
  if (identity.outcome.result.kind !== 'continue')
    return { actions: identity.actions, outcomes: [identity.outcome] };
  const topology = runTrack('topology', topologyTrack, input, parameters);
  const content = runTrack('content', contentTrack, input, parameters);
  return {
    actions: [...identity.actions, ...topology.actions, ...content.actions],
    outcomes: [identity.outcome, topology.outcome, content.outcome],
  };
}

function runTrack(
  track: Outcome['track'],
  steps: readonly Step[],
  input: PlanInput,
  parameters: Parameters,
): { actions: Action[]; outcome: Outcome } {
  const actions: Action[] = [];
  for (const step of steps) {
    const result = step.run(input, parameters);
    actions.push(...(result.actions ?? []));
    if (result.kind !== 'continue') return { actions, outcome: { track, step: step.name, result } };
  }
  return { actions, outcome: { track, step: undefined, result: { kind: 'continue' } } };
}
