import { describe, expect, it } from 'vitest';
import { PostgresError } from '../../postgres/postgres-error.ts';
import { ApiError } from '../../runtime/api-error.ts';
import { persistentVolumeClaimType } from '../../runtime/kubernetes-types.ts';
import { withFailures } from './failure.ts';
import { UnderWay } from './long-work.ts';
import { MigrationError } from './migration-error.ts';
import type { Action, StepResult } from './model.ts';
import type { Outcome } from './plan-result.ts';

const proceed: StepResult = { kind: 'continue' };
const migrating: StepResult = { kind: 'wait', reason: 'Migrating', message: 'it is applied', afterMs: 0 };

function outcomes(topology: StepResult, content: StepResult): Outcome[] {
  return [
    { track: 'identity', step: undefined, result: proceed },
    { track: 'topology', step: 'rollout', result: topology },
    { track: 'content', step: 'schema', result: content },
  ];
}

const migrate: Action = {
  kind: 'migrate',
  migration: { name: '001', sql: 'SELECT 1' },
  position: 1,
  shards: ['s0'],
};
const resize: Action = {
  kind: 'resize-claim',
  claim: { apiVersion: 'v1', kind: 'PersistentVolumeClaim', metadata: { name: 'data-shop-s0-0' } },
  size: '2Gi',
};

function refusal(status: number): ApiError {
  return new ApiError({ method: 'PATCH', path: `/${persistentVolumeClaimType.plural}` }, status, {
    reason: 'Forbidden',
    message: 'only dynamically provisioned pvc can be resized',
  });
}

describe('withFailures', () => {
  it('says what a failing migration said, and not that it is being applied', () => {
    const error = new MigrationError(true, 'shard s1, migration "001": relation exists');
    expect(withFailures(outcomes(proceed, migrating), [{ action: migrate, error }])).toEqual(
      outcomes(proceed, { kind: 'fail', reason: 'MigrationFailed', message: error.message }),
    );
  });

  it('says that a migration is under way, and takes that for no failure', () => {
    const ends = [{ action: migrate, error: new UnderWay('migration "001"') }];
    expect(withFailures(outcomes(proceed, migrating), ends)).toMatchObject(
      outcomes(proceed, {
        kind: 'wait',
        reason: 'Migrating',
        message: 'migration "001" is under way',
        afterMs: 100,
      }),
    );
  });

  it('takes a bound that PostgreSQL refuses for one to be corrected, and says where', () => {
    const making: Action = { kind: 'sql', shard: 's1', batches: [] };
    const failing = (sqlstate: string) => {
      const error = new PostgresError({ sqlstate, message: 'invalid input syntax for type date: "soon"' });
      return withFailures(outcomes(proceed, proceed), [{ action: making, error }])[2]?.result;
    };
    const message = 'shard s1: invalid input syntax for type date: "soon"';
    expect(failing('22007')).toEqual({ kind: 'fail', reason: 'TablesInvalid', message });
    expect(failing('42P17')).toEqual({ kind: 'fail', reason: 'TablesInvalid', message });
    expect(failing('55P03')).toMatchObject({ kind: 'wait', reason: 'Retrying', message });
  });

  it('tries again what needs no correction', () => {
    const error = new MigrationError(false, 'shard s1, migration "001": lock timeout');
    expect(withFailures(outcomes(proceed, migrating), [{ action: migrate, error }])).toEqual(
      outcomes(proceed, { kind: 'wait', reason: 'Retrying', message: error.message, afterMs: 2_000 }),
    );
  });

  it('tells a refusal of the API server from one that will pass, on the track that it concerns', () => {
    const refused = withFailures(outcomes(proceed, proceed), [{ action: resize, error: refusal(403) }]);
    expect(refused[1]?.result).toMatchObject({ kind: 'fail', reason: 'ApiRefused' });
    expect(refused[2]?.result).toEqual(proceed);
    const passing = withFailures(outcomes(proceed, proceed), [{ action: resize, error: refusal(429) }]);
    expect(passing[1]?.result).toMatchObject({ kind: 'wait', reason: 'Retrying' });
  });

  it('shows the failure that needs correction before one that will pass', () => {
    const failures = [
      { action: migrate, error: new Error('connection refused') },
      { action: migrate, error: new MigrationError(true, 'syntax error') },
    ];
    expect(withFailures(outcomes(proceed, migrating), failures)[2]?.result).toMatchObject({
      kind: 'fail',
      message: 'syntax error',
    });
  });

  it('leaves what the plan itself found wrong', () => {
    const stuck: StepResult = { kind: 'fail', reason: 'PatroniPaused', message: 'paused' };
    const failures = [{ action: resize, error: new Error('connection refused') }];
    expect(withFailures(outcomes(stuck, proceed), failures)).toEqual(outcomes(stuck, proceed));
  });
});
