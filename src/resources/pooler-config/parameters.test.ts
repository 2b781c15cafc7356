import { expect, it } from 'vitest';
import { managedPoolerParameters } from '../../api/v1alpha1/pooler-parameters.ts';
import { parameterProblem, restartParameters } from './parameters.ts';

it.each([
  ['server_chekc_delay', 'server_check_delay'],
  ['tcp_keep_idle', 'tcp_keepidle'],
  ['log_connection', 'log_connections'],
])('takes %s for %s', (written, meant) => {
  expect(parameterProblem({ [written]: '1' })).toBe(
    `PgBouncer knows no setting "${written}": did you mean "${meant}"?`,
  );
});

it('has nothing against what PgBouncer knows', () => {
  expect(
    parameterProblem({ server_check_delay: '10', verbose: '1', track_extra_parameters: 'x' }),
  ).toBeUndefined();
});

it('never takes what Herdsman sets itself', () => {
  for (const name of Object.keys(managedPoolerParameters))
    expect(parameterProblem({ [name]: '1' })).toBeDefined();
});

it('knows what needs a new process', () => {
  expect(restartParameters({ listen_backlog: '512', verbose: '1' })).toEqual({ listen_backlog: '512' });
});
