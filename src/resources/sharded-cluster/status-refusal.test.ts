import { describe, expect, it } from 'vitest';
import { ApiError, TransportError } from '../../runtime/api-error.ts';
import { refusalEvent } from './status-refusal.ts';

const request = { method: 'PATCH', path: '/apis/herdsman.dev/v1alpha1/shardedclusters/shop/status' };
const answer = (status: number, reason: string) => new ApiError(request, status, { reason, message: 'no' });

describe('a status', () => {
  it.each([
    [400, 'BadRequest'],
    [403, 'Forbidden'],
    [422, 'Invalid'],
  ])('that is refused with %i is told, with the reason', (status, reason) => {
    expect(refusalEvent(answer(status, reason))).toMatchObject({
      type: 'Warning',
      reason: 'StatusRefused',
      note: expect.stringContaining(`${status} ${reason}: no`),
    });
  });

  it.each([
    ['of a cluster that is gone', answer(404, 'NotFound')],
    ['that somebody else wrote meanwhile', answer(409, 'Conflict')],
    ['that came at a bad time', answer(500, 'InternalError')],
    ['of which no answer came', new TransportError(request, 'timeout')],
  ])('%s is tried again', (_, error) => {
    expect(refusalEvent(error)).toBeUndefined();
  });
});
