import { expect, it } from 'vitest';
import { managedPoolerParameters } from '../../api/v1alpha1/pooler-parameters.ts';
import { parameterProblem as problemOf, restartParameters } from './parameters.ts';

const parameterProblem = (parameters: Record<string, string>, maxPause = '10s') =>
  problemOf({ parameters, maxPause });

it.each([
  ['server_chekc_delay', 'server_check_delay'],
  ['tcp_keep_idle', 'tcp_keepidle'],
  ['log_connection', 'log_connections'],
])('takes %s for %s', (written, meant) => {
  expect(parameterProblem({ [written]: '1' })).toMatchObject({
    reason: 'UnknownParameter',
    message: `PgBouncer knows no setting "${written}": did you mean "${meant}"?`,
  });
});

it.each([
  ['max_client_con', 'max_client_conn', 'use spec.maxClientConnections'],
  ['query_wait_timout', 'query_wait_timeout', 'use spec.timeouts.queryWait'],
])('names what to use for %s, which is nearest to what Herdsman makes itself', (written, meant, instead) => {
  expect(parameterProblem({ [written]: '1' })).toMatchObject({
    reason: 'UnknownParameter',
    message: `PgBouncer knows no setting "${written}": did you mean "${meant}"? Herdsman makes that one: ${instead}`,
  });
});

it.each([
  [
    '14.5',
    '10s',
    /server_connect_timeout of 14.5 s .* maxPause \(10s\): write at least 15, or lower maxPause/,
  ],
  ['15', '1m', /write at least 65/],
])('does not take %s s to connect where clients wait for %s', (value, maxPause, message) => {
  expect(parameterProblem({ server_connect_timeout: value }, maxPause)).toMatchObject({
    reason: 'InvalidParameter',
    message: expect.stringMatching(message),
  });
});

it.each([
  ['15', '10s'],
  ['0', '10s'],
  ['1', '0s'],
])('takes %s s to connect where clients wait for %s', (value, maxPause) => {
  expect(parameterProblem({ server_connect_timeout: value }, maxPause)).toBeUndefined();
});

it.each([
  ['server_check_delay', 'abc', 'seconds without a unit, such as "10" or "0.5"'],
  ['server_check_delay', '10s', 'seconds without a unit, such as "10" or "0.5"'],
  ['server_check_delay', '-1', 'seconds without a unit, such as "10" or "0.5"'],
  ['log_connections', 'on', '"0" or "1"'],
  ['verbose', '', 'a whole number'],
  ['listen_backlog', '1e3', 'a whole number'],
  ['pkt_buf', '0', 'a whole number of at least 1'],
  ['client_tls_ecdhcurve', 'X25519', 'one of auto, none, prime256v1, secp384r1, secp521r1'],
  ['server_tls_protocols', 'tls9', '"secure", "all", or versions such as "tlsv1.2,tlsv1.3"'],
  ['client_tls_ciphers', 'nonsense', '"secure", "fast", or ciphers as OpenSSL names them, such as "HIGH"'],
  [
    'client_tls_ciphers',
    'TLS_AES_256_GCM_SHA384',
    '"secure", "fast", or ciphers as OpenSSL names them, such as "HIGH"',
  ],
])('says what %s takes instead of "%s"', (name, value, meant) => {
  expect(parameterProblem({ verbose: '1', [name]: value })).toMatchObject({
    reason: 'InvalidParameter',
    message: `"${value}" is no value for ${name}: write ${meant}`,
  });
});

it('has nothing against what PgBouncer knows', () => {
  expect(
    parameterProblem({
      server_check_delay: '0.5',
      verbose: '1',
      track_extra_parameters: 'x',
      client_tls_ciphers: 'HIGH:!aNULL',
      server_tls_ciphers: 'ECDHE-ECDSA-AES256-GCM-SHA384:!MD5',
      client_tls_dheparams: 'auto',
      client_tls_protocols: 'TLSv1.2,tlsv1.3',
    }),
  ).toBeUndefined();
});

it('never takes what Herdsman sets itself', () => {
  for (const name of Object.keys(managedPoolerParameters))
    expect(parameterProblem({ [name]: '1' })).toBeDefined();
});

it('knows what needs a new process', () => {
  expect(restartParameters({ listen_backlog: '512', pkt_buf: '8192', verbose: '1' })).toEqual({
    listen_backlog: '512',
    pkt_buf: '8192',
  });
});
