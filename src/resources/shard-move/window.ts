import { isOpen } from '../../sharding/rebalance/move-window.ts';
import type { ShardMove } from './model.ts';
import { isCancelled } from './record.ts';

/** Why a move that has not begun, or begins again, may not do so now. */
export function closedWindow(shardMove: ShardMove, now: Date): string | undefined {
  const { phase = 'preflight', ending } = shardMove.status ?? {};
  const { window } = shardMove.spec;
  if (phase !== 'preflight' || ending !== undefined || isCancelled(shardMove)) return undefined;
  if (window === undefined || isOpen(window, now)) return undefined;
  return `spec.window lets it start from ${window.start} to ${window.end} UTC`;
}
