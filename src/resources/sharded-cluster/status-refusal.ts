import { ApiError } from '../../runtime/api-error.ts';
import type { EventInput } from '../../runtime/events.ts';

/** Answers that the same status will get again. */
const refusals: readonly number[] = [400, 403, 422];

/**
 * The event for a status that the API server refused, or `undefined` for any other error. A status that stays as it was
 * shows nothing of it.
 */
export function refusalEvent(error: unknown): EventInput | undefined {
  if (!(error instanceof ApiError) || !refusals.includes(error.status)) return undefined;
  return {
    type: 'Warning',
    reason: 'StatusRefused',
    action: 'WriteStatus',
    note: `the status is out of date, because the API server refuses the new one: ${error.message}`,
  };
}
