import { readFileSync } from 'node:fs';
import pg from 'pg';
import { beforeAll, expect, it } from 'vitest';
import { generatePassword } from '../../src/pki/password.ts';
import { configMapType, eventType, podType, secretType } from '../../src/runtime/kubernetes-types.ts';
import { kube } from '../support/cluster.ts';
import { kubectl } from '../support/kubectl.ts';
import { operatorNamespace } from '../support/operator.ts';
import { applicationConfig, query, readSecret } from '../support/pg.ts';
import { processesOf } from '../support/processes.ts';
import { namespaceForFile } from '../support/scene.ts';
import {
  applyCluster,
  type ClusterKey,
  memberPods,
  readCluster,
  shardMapType,
  waitUntilReady,
} from '../support/sharded-cluster.ts';
import { waitFor } from '../support/wait.ts';

const namespace = namespaceForFile('passwords');
const key: ClusterKey = { namespace, name: 'discreet' };

/** The login that the user brings, first and later. */
const brought = { username: 'keeper', password: generatePassword() };
const rotated = { ...brought, password: generatePassword() };

/** Every password, and the private keys, line by line, that must be seen nowhere. */
let secrets: string[];

beforeAll(async () => {
  const client = await kube();
  await client.create(secretType, {
    ...{ apiVersion: 'v1', kind: 'Secret', metadata: { name: 'brought', namespace } },
    ...{ stringData: brought },
  });
  await applyCluster(key, {
    members: 2,
    credentials: { application: 'brought' },
    // The statement that sets a password is what a careless operator would have logged here.
    postgres: { parameters: { log_statement: 'all', log_min_duration_statement: '0' } },
    schema: [{ name: 'one', sql: 'CREATE TABLE one (id int)' }],
  });
  await waitUntilReady(key);
  const found = await Promise.all(
    ['discreet-app', 'discreet-monitoring'].map((name) => readSecret(namespace, name)),
  );
  const authority = await readSecret(namespace, 'discreet-ca');
  const keyLines = (authority['ca.key'] ?? '')
    .split('\n')
    .filter((line) => line.length > 40 && !line.startsWith('-'));
  secrets = [...found.map(({ password }) => password ?? ''), rotated.password, ...keyLines];
  expect(secrets.filter((secret) => secret.length < 20)).toEqual([]);
  expect(keyLines.length).toBeGreaterThan(0);
  expect(found[0]).toMatchObject(brought);
  const change = { stringData: { password: rotated.password } };
  await client.patch(secretType, { namespace, name: 'brought' }, change, { type: 'merge' });
});

function leaks(text: string): string[] {
  return secrets.filter((secret) => text.includes(secret) || text.includes(encodeURIComponent(secret)));
}

it('sees a password where there is one', () => {
  expect(leaks(`password=${secrets[0]} `)).toHaveLength(1);
});

async function readLogs(): Promise<{ pod: string; log: string }[]> {
  const members = (await memberPods(key)).map(({ metadata }) => [namespace, metadata.name] as const);
  const { items } = await (await kube()).list(podType, { namespace: operatorNamespace });
  const operators = items.map(({ metadata }) => [operatorNamespace, metadata.name] as const);
  return Promise.all(
    [...members, ...operators].map(async ([where, pod]) => ({
      pod,
      log: await kubectl(['logs', '-n', where, pod, '--all-containers']),
    })),
  );
}

it('no log has one', async () => {
  // Other files replace the operator's pods: one may be gone between the list and its log.
  const logs = await waitFor('the logs', async () => ({ done: await readLogs() }));
  for (const { pod, log } of logs) expect(leaks(log), `the log of ${pod}`).toEqual([]);
});

it('the servers really log statements', async () => {
  // The password may be changing just now.
  await waitFor('a statement runs', async () => ({
    done: await query({ namespace, cluster: key.name }, `SELECT 'a sentence for the log'`),
  }));
  const logs = await Promise.all(
    (await memberPods(key)).map(({ metadata }) => kubectl(['logs', '-n', namespace, metadata.name])),
  );
  expect(logs.join('\n')).toContain('a sentence for the log');
});

it('no event, map, configuration, pod or status has one', async () => {
  const client = await kube();
  const lists = await Promise.all(
    [eventType, configMapType, podType, shardMapType].map((type) => client.list(type, { namespace })),
  );
  for (const object of lists.flatMap(({ items }) => items)) {
    expect(leaks(JSON.stringify(object)), `${object.kind} ${object.metadata.name}`).toEqual([]);
  }
  expect(leaks(JSON.stringify(await readCluster(key)))).toEqual([]);
});

it('no process has one among its arguments or in its environment', async () => {
  for (const pod of await memberPods(key)) {
    const processes = processesOf(pod.metadata.uid ?? '');
    expect(processes.map(({ name }) => name)).toContain('postgres');
    for (const { pid, name } of processes) {
      const read = (file: string): string => {
        try {
          return readFileSync(`/proc/${pid}/${file}`, 'utf8');
        } catch {
          return '';
        }
      };
      expect(leaks(read('cmdline') + read('environ')), `${name} in ${pod.metadata.name}`).toEqual([]);
    }
  }
});

it('a password that the user changes holds soon, and the former one no more', async () => {
  const config = await applicationConfig({ namespace, cluster: key.name });
  const logIn = async (login: typeof brought): Promise<string> => {
    const client = new pg.Client({ ...config, user: login.username, password: login.password });
    await client.connect();
    const { rows } = await client.query<{ user: string }>('SELECT current_user AS user');
    await client.end();
    return rows[0]?.user ?? '';
  };
  // Secrets are read by name, not watched: a change is seen within two minutes.
  await waitFor('the new password', async () => ({ done: await logIn(rotated) }), {
    timeoutMs: 180_000,
    everyMs: 1000,
  });
  await expect(logIn(brought)).rejects.toThrow(/password authentication failed/);
  expect(await readSecret(namespace, 'discreet-app')).toMatchObject(rotated);
  expect(leaks(await kubectl(['get', 'events', '-n', namespace, '-o', 'json']))).toEqual([]);
});
