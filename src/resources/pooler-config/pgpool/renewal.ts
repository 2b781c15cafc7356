import { statefulSetType } from '../../../runtime/kubernetes-types.ts';
import { contentOf } from '../../sharded-cluster/steps/identity.ts';
import { writes } from '../delivery.ts';
import { startedAnew, templateStart } from '../desired/pgpool-objects.ts';
import { restampedPgpool } from '../desired/pgpool-settings.ts';
import type { Action, PlanInput } from '../model.ts';
import { pgpoolKeySecret, poolerName } from '../names.ts';
import { certificatesOf } from './identity.ts';

/**
 * What is done beside a refusal: certificates are renewed all the same, with the settings that instances go on with, which are
 * started anew for it, one at a time. Whoever has no settings yet gets none.
 */
export function pgpoolRenewals(input: PlanInput): readonly Action[] {
  const { pooler, observed } = input;
  const { name } = pooler.metadata;
  const content = contentOf(observed.secrets.get(poolerName(name)));
  const key = contentOf(observed.secrets.get(pgpoolKeySecret(name)))?.key;
  if (content === undefined || key === undefined || restampedPgpool(content, key, {}) === undefined)
    return [];
  const certificates = certificatesOf(input);
  if ('stop' in certificates) return certificates.actions ?? [];
  const renewed = restampedPgpool(content, key, certificates.value);
  if (renewed === undefined) return [];
  const written = writes(input, { ...content, ...certificates.value, ...renewed.files });
  if (written.length > 0) return written;
  const { statefulSet } = observed;
  if (statefulSet === undefined || templateStart(statefulSet) === renewed.start) return [];
  return [{ kind: 'apply', type: statefulSetType, object: startedAnew(statefulSet, renewed.start) }];
}
