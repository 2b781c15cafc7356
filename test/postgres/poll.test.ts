import { afterAll, expect, inject, it } from 'vitest';
import { createConnections } from '../../src/postgres/connections.ts';
import { createPoll } from '../../src/resources/read-replica-set/poll.ts';
import { waitFor } from '../support/wait.ts';
import { openOperator } from './world.ts';

const connections = createConnections();
const poll = createPoll(connections);
const options = () => {
  const { host, port, password } = inject('postgres');
  return { host, port, password, user: 'herdsman', database: 'postgres', tls: 'off' as const };
};

afterAll(() => connections.close());

it('answers what a server says', async () => {
  const reading = await poll.ask('quick', options(), (connection) =>
    connection.query({ text: 'SELECT 1 AS n' }),
  );
  expect(reading).toEqual({ state: 'present', value: [{ n: 1 }] });
});

it('neither waits for a server that hangs nor asks it twice at once, and asks again when that is over', async () => {
  const blocker = await openOperator('postgres');
  const lock = 726_001;
  await blocker.query({ text: `SELECT pg_advisory_lock(${lock})` });
  const question = () =>
    poll.ask('hung', options(), (connection) =>
      connection.query({ text: `SELECT pg_advisory_lock(${lock}), pg_advisory_unlock(${lock})` }),
    );
  const [first, second] = await Promise.all([question(), question()]);
  expect(first).toMatchObject({ state: 'unknown', error: { message: 'it does not answer' } });
  expect(second).toMatchObject({ state: 'unknown', error: { message: 'its last answer has not come yet' } });
  await blocker.query({ text: `SELECT pg_advisory_unlock(${lock})` });
  await blocker.close();
  await waitFor('it answers again', async () => {
    const reading = await question();
    return reading.state === 'present' ? { done: true } : { state: reading };
  });
});

it('gives an answer that comes late to whoever asks next', async () => {
  let asked = 0;
  const question = () =>
    poll.ask('slow', options(), (connection) => {
      asked += 1;
      return connection.query({ text: 'SELECT pg_sleep(1), 1 AS n' });
    });
  expect(await question()).toMatchObject({ state: 'unknown', error: { message: 'it does not answer' } });
  const answer = await waitFor('the answer', async () => {
    const reading = await question();
    return reading.state === 'present' ? { done: reading.value } : { state: reading };
  });
  expect(answer).toMatchObject([{ n: 1 }]);
  expect(asked).toBe(1);
});
