import { durationMs } from '../../api/v1alpha1/duration.ts';
import type { PoolerConfig } from './model.ts';

/** A PoolerConfig as it is written: defaults may be missing. */
type Written = { readonly spec: Pick<PoolerConfig['spec'], 'target'> & Partial<PoolerConfig['spec']> };

/** For how long clients may be held back while who serves them changes, in milliseconds; 0: not at all. */
export function longestPauseMs({ spec }: Written): number {
  // Pgpool-II cannot make its clients wait, and members of a ReadReplicaSet come and go by its rotation.
  if (spec.engine === 'pgpool' || spec.target.readReplicaSet !== undefined) return 0;
  return durationMs(spec.maxPause ?? '10s') ?? 0;
}
