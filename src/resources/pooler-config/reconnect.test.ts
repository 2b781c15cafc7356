import { expect, it } from 'vitest';
import type { Console } from '../../postgres/pgbouncer-console.ts';
import { systemClock } from '../../runtime/clock.ts';
import { executePooler, type PoolerExecution, type PoolerPass } from './execute.ts';
import { untilNoLogin } from './hold.ts';

it('no instance waits for the logins of another before it connects anew', async () => {
  const asked: string[] = [];
  const options = (host: string) => {
    asked.push(host);
    // Nobody listens there.
    return { host: '127.0.0.1', port: 1, user: 'u', password: 'p', ca: '', servername: 'localhost' };
  };
  const names = ['a', 'b'];
  const instances = names.map((name) => ({ name, pod: { metadata: { name }, status: { podIP: name } } }));
  const done = executePooler(
    { clock: systemClock } as PoolerExecution,
    {
      observed: { instances },
      access: { options },
      signal: new AbortController().signal,
    } as unknown as PoolerPass,
    names.map((pod) => ({ kind: 'reconnect', pod, database: 'app' })),
  );
  expect(asked).toEqual(names);
  expect((await done).map(({ action }) => action.kind)).toEqual(['reconnect', 'reconnect']);
});

it('a pass that is over waits for no login', async () => {
  const over = new AbortController();
  let looks = 0;
  const console = {
    async showServers() {
      looks += 1;
      if (looks === 3) over.abort();
      return [{ database: 'app', state: 'new', ptr: `${looks}`, remote_pid: 0, local_port: 0 }];
    },
  } as unknown as Console;
  await untilNoLogin(console, 'app', { ...systemClock, monotonicMs: () => 0 }, 'reconnect', over.signal);
  expect(looks).toBe(3);
});
