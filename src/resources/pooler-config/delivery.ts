import { isDeepStrictEqual } from 'node:util';
import { contentOf } from '../sharded-cluster/steps/identity.ts';
import { poolerSecret } from './desired/objects.ts';
import { restamped } from './desired/settings.ts';
import { certificatesOf } from './identity.ts';
import type { Action, Observed, ObservedInstance, PlanInput } from './model.ts';
import { poolerName, revisionAnnotation } from './names.ts';

/** Writes the files where others are written. */
export function writes(
  { pooler, observed }: PlanInput,
  content: Readonly<Record<string, string>>,
): readonly Action[] {
  const secret = poolerSecret(pooler, content);
  const present = observed.secrets.get(secret.metadata.name);
  const isWritten = present?.state === 'present' && isDeepStrictEqual(present.value.data, secret.data);
  return isWritten ? [] : [{ kind: 'write-secret', secret }];
}

/**
 * Has instances take what is written: it reaches their pods, and then they read it. Whoever holds clients back changes settings
 * meanwhile, and sets them back: who is held reads none before.
 */
export function deliveries(
  { held }: Pick<Observed, 'held'>,
  instances: readonly ObservedInstance[],
  revision: string,
): Action[] {
  return instances.flatMap(({ pod, ready }): Action[] => [
    ...(pod.metadata.annotations?.[revisionAnnotation] === revision
      ? []
      : [{ kind: 'deliver' as const, pod: pod.metadata.name, revision }]),
    ...(ready && !isAnyHeld(held, pod) ? [{ kind: 'reload' as const, pod: pod.metadata.name }] : []),
  ]);
}

/** Whether clients of any database of an instance are held back. */
export function isAnyHeld(held: Observed['held'], { metadata }: ObservedInstance['pod']): boolean {
  return [...held].some((key) => key.startsWith(`${metadata.uid}/`));
}

/** Whether an instance runs with other settings; one that does not answer is taken at the word of what was delivered to it. */
export function runsWithout({ pod, facts }: ObservedInstance, revision: string): boolean {
  if (pod.metadata.deletionTimestamp !== undefined) return false;
  return facts.state === 'present'
    ? facts.value.revision !== revision
    : pod.metadata.annotations?.[revisionAnnotation] !== revision && pod.status?.phase === 'Running';
}

/**
 * What is done beside a refusal: certificates are renewed all the same, with the settings that instances go on with. Whoever has
 * no settings yet gets none.
 */
export function renewals(input: PlanInput): readonly Action[] {
  const { pooler, observed } = input;
  const content = contentOf(observed.secrets.get(poolerName(pooler.metadata.name)));
  if (content === undefined || restamped(content, {}) === undefined) return [];
  const certificates = certificatesOf(input);
  if ('stop' in certificates) return certificates.actions ?? [];
  const { users = '' } = content;
  const renewed = restamped(content, { users, ...certificates.value });
  if (renewed === undefined) return [];
  const written = writes(input, { ...content, ...certificates.value, ...renewed.files });
  if (written.length > 0) return written;
  const { revision } = renewed;
  return deliveries(
    observed,
    observed.instances.filter((instance) => runsWithout(instance, revision)),
    revision,
  );
}
