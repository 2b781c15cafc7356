import type { Conversion } from '../../sharding/conversion/model.ts';
import type { ConversionStepKind } from '../../sharding/conversion/plan.ts';
import type { Connection } from '../connection.ts';
import { build, verify } from './build.ts';
import { type ConversionContext, type ConversionStep, refusable } from './context.ts';
import { copy } from './copy.ts';
import { follow, settle, tidy } from './finish.ts';
import { note, stage } from './stage.ts';
import { own, switchBack, switchOver } from './switch.ts';

/** What a step needs beside its context. */
export interface StepInput {
  /** As the shard knows it; `undefined` before the first step. */
  readonly conversion: Conversion | undefined;
  /** Epoch for the markers: above all that the map has had. */
  readonly epoch: number;
  /** Whether copying shall give way to another pass. */
  readonly isTimeUp: () => boolean;
}

/** Does one step on the shard that has the rows. */
export async function performConversionStep(
  connection: Connection,
  context: ConversionContext,
  step: ConversionStepKind,
  { conversion, epoch, isTimeUp }: StepInput,
): Promise<ConversionStep> {
  return refusable(async () => {
    if (step === 'stage') return stage(connection, context);
    if (conversion === undefined)
      return { kind: 'waiting', reason: 'Overtaken', message: 'the shard knows no such conversion' };
    switch (step) {
      case 'note':
        return note(connection, context);
      case 'copy':
        return copy(connection, context, conversion, isTimeUp);
      case 'build':
        return build(connection, context);
      case 'verify':
        return verify(connection, context);
      case 'switch':
        return switchOver(connection, context, conversion);
      case 'own':
        return own(connection, context, epoch);
      case 'settle':
        return settle(connection, context);
      case 'follow':
        return follow(connection, context);
      case 'switch-back':
        return switchBack(connection, context);
      case 'tidy':
        return tidy(connection, conversion);
    }
  });
}
