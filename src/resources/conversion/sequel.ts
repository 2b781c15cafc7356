import type { ConversionStep } from '../../postgres/conversion/context.ts';
import { type Conversion, isBeforeSwitch } from '../../sharding/conversion/model.ts';
import type { ConversionStepKind } from '../../sharding/conversion/plan.ts';
import type { Volume } from '../../sharding/room.ts';
import { diskFilled, diskFull } from './room.ts';
import type { GroupReport } from './status.ts';

/** What follows from how a step ended. */
export interface Sequel {
  /** How the group stands then. */
  readonly outcome: GroupReport['outcome'];
  /** Whether what was made is thrown away first, or the old tables when there is no way back to them. */
  readonly tidies: boolean;
  /** What somebody should hear of. */
  readonly warning?: { readonly reason: string; readonly note: string };
}

/** The step that was tried, and where. */
export interface TriedStep {
  readonly kind: ConversionStepKind;
  readonly group: string;
  readonly shard: string;
  readonly volume: Volume;
  /** As it was before; absent before the first step. */
  readonly conversion: Conversion | undefined;
}

/** What follows from how a step ended; what fills a disk is not tried again at once, since the applications need the rest. */
export function sequelOf(
  { kind, group, shard, volume, conversion }: TriedStep,
  result: ConversionStep,
): Sequel {
  const canGiveUp = conversion === undefined || isBeforeSwitch(conversion);
  switch (result.kind) {
    case 'done': {
      const message = 'the plain tables are kept in step';
      const isFollowing = kind === 'follow';
      return {
        outcome: isFollowing ? { kind: 'waiting', reason: 'Reversible', message } : { kind: 'going' },
        tidies: false,
      };
    }
    case 'waiting': {
      const { reason, message } = result;
      if (reason !== 'DiskFull') return { outcome: { kind: 'waiting', reason, message }, tidies: false };
      // What the first step would have made is not there; what serves after the switch is not given up.
      if (conversion === undefined || !canGiveUp)
        return { outcome: diskFull(shard, volume, conversion !== undefined), tidies: false };
      return { outcome: diskFilled(shard, volume, message), tidies: true };
    }
    case 'changed': {
      const note = canGiveUp
        ? `the conversion of group "${group}" begins again: ${result.message}`
        : `the conversion of group "${group}" cannot be taken back any more: ${result.message}`;
      const warning = { reason: canGiveUp ? 'ConversionRestarted' : 'ConversionKept', note };
      return { outcome: { kind: 'going' }, tidies: true, warning };
    }
  }
}
