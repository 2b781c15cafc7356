import { afterAll, expect, it } from 'vitest';
import { createConnections } from '../../src/postgres/connections.ts';
import type { Inquiry } from '../../src/resources/read-replica-set/inquiry.ts';
import { readOldest } from '../../src/resources/read-replica-set/observe-primary.ts';
import { createPoll } from '../../src/resources/read-replica-set/poll.ts';
import { readers } from '../../src/resources/read-replica-set/test-support/world.ts';
import { sharedPostgres } from '../support/shared-postgres.ts';
import { waitFor } from '../support/wait.ts';
import { openOperator } from './world.ts';

const connections = createConnections();
const poll = createPoll(connections);
const options = () => {
  const { host, port, password } = sharedPostgres();
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

it.each([
  { of: 'a namesake in another namespace', namespace: 'other', address: '10.0.0.1' },
  { of: 'the primary before', namespace: 'store', address: '10.0.0.2' },
])('gives what a primary says late of its oldest WAL to no member of $of', async ({ namespace, address }) => {
  const { promise: held, resolve: release } = Promise.withResolvers<void>();
  const { promise: answered, resolve: answer } = Promise.withResolvers<void>();
  let asked = 0;
  const slowPoll = createPoll({
    ...connections,
    async use(given, work) {
      asked += 1;
      await held;
      return connections.use(given, work).finally(answer);
    },
  });
  const unreachable = { ...options(), port: 1 };
  const oldestOf = (of: { namespace: string; address: string }, server: ReturnType<typeof options>) => {
    const set = readers();
    const inquiry = {
      set: { ...set, metadata: { ...set.metadata, namespace: of.namespace } },
      shard: 's0',
      access: { asOperator: () => server } as unknown as Inquiry['access'],
      poll: slowPoll,
    };
    return readOldest(inquiry, 'readers-s0-replicas-0', of.address);
  };
  const slow = { namespace: 'store', address: '10.0.0.1' };
  expect(await oldestOf(slow, options())).toBeUndefined();
  release();
  await answered;
  expect(await oldestOf({ namespace, address }, unreachable)).toBeUndefined();
  expect(await oldestOf(slow, unreachable)).toBeGreaterThanOrEqual(0);
  expect(asked).toBe(2);
});
