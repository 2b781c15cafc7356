import { dump } from 'js-yaml';
import { expect, it } from 'vitest';
import { backendsOf } from '../pgpool/backends.ts';
import { poolPasswords } from '../pgpool/passwords.ts';
import { pgpoolConfig, readers } from '../test-support/pgpool-world.ts';
import { pgpoolObjects } from './pgpool-objects.ts';
import { type PgpoolSettingsInput, pgpoolFiles, pgpoolRevisionOf } from './pgpool-settings.ts';

const full = {
  pgpool: {
    shard: 's0',
    primaryWeight: 0,
    maxLag: '2s',
    disableLoadBalanceOnWrite: 'dmlAdaptive',
    balance: 'statement',
    queryCache: { size: '128Mi', expire: '30s' },
    parameters: { write_function_list: 'nextval,setval', ssl_ciphers: 'HIGH' },
  },
  spec: {
    imagePullSecrets: [{ name: 'registry' }],
    tls: { required: false },
    timeouts: { clientIdle: '1h' },
    resources: { requests: { cpu: '100m', memory: '128Mi' }, limits: { memory: '256Mi' } },
    placement: {
      nodeSelector: { 'node.kubernetes.io/pool': 'poolers' },
      tolerations: [{ key: 'poolers', operator: 'Exists', effect: 'NoSchedule' }],
    },
  },
};

function settings(pgpool = {}, spec = {}, changes: Partial<PgpoolSettingsInput> = {}) {
  const pooler = pgpoolConfig(pgpool, spec);
  if (pooler.spec.pgpool === undefined) throw new Error('no pgpool');
  const backends = backendsOf({
    cluster: 'shop',
    shard: 's0',
    primaryWeight: pooler.spec.pgpool.primaryWeight,
    sets: [{ set: readers(), weight: 2 }],
    slots: { readers: 3 },
  });
  return pgpoolFiles({
    spec: pooler.spec,
    pgpool: pooler.spec.pgpool,
    database: 'app',
    backends,
    clients: 40,
    monitoring: 'monitoring',
    logins: [
      { username: 'app', password: 'application secret' },
      { username: 'monitoring', password: 'watch' },
    ],
    key: 'secretkey',
    certificates: { 'tls.crt': 'one' },
    ...changes,
  });
}

// What these files hold is what runs at users': a difference in a StatefulSet replaces their instances.
it.each([
  ['pgpool-minimal', {}, {}],
  ['pgpool-full', full.pgpool, full.spec],
])('an operator upgrade changes nothing of %s', async (name, pgpool, spec) => {
  const { files, start } = settings(pgpool, spec);
  const pooler = pgpoolConfig(pgpool, spec);
  const { imagePullSecrets } = pooler.spec;
  const image = 'herdsman/postgres:17';
  const yaml = pgpoolObjects(pooler, { image, imagePullSecrets, replicas: 2, start, slots: { readers: 3 } })
    .map((object) => dump(object, { lineWidth: -1, noRefs: true, sortKeys: true }))
    .join('---\n');
  await expect(yaml).toMatchFileSnapshot(`golden/${name}.golden.yaml`);
  const text = Object.entries(files).map(([file, content]) => `==> ${file}\n${content}`);
  await expect(text.join('\n')).toMatchFileSnapshot(`golden/${name}.golden.ini`);
});

it('carries a revision that Pgpool-II shows, and that every difference changes', () => {
  const { files, revision, start } = settings();
  const ident = /^syslog_ident = '(.*)'$/m.exec(files['pgpool.conf'] ?? '')?.[1];
  expect(pgpoolRevisionOf(ident ?? '')).toBe(revision);
  expect(settings()).toMatchObject({ revision, start });
  const others = [
    settings({ maxLag: '1s' }),
    settings({}, { tls: { required: false } }),
    settings({}, {}, { clients: 7 }),
    settings({}, {}, { key: 'another' }),
    settings({}, {}, { certificates: { 'tls.crt': 'two' } }),
    settings({}, {}, { logins: [{ username: 'app', password: 'another' }] }),
  ];
  expect(new Set([revision, ...others.map((other) => other.revision)]).size).toBe(7);
  expect(others.map((other) => other.start === start)).toEqual([true, true, false, false, false, true]);
});

it('never lets Pgpool-II decide on a failover', () => {
  const conf = settings().files['pgpool.conf'] ?? '';
  expect(conf).toContain("backend_flag0 = 'ALWAYS_PRIMARY|DISALLOW_TO_FAILOVER'");
  expect(conf).toContain("failover_command = ''");
  expect(conf).toContain("follow_primary_command = ''");
  expect(conf).toContain('health_check_period0 = 0');
});

it('encrypts passwords as pg_enc does', () => {
  expect(poolPasswords([{ username: 'app', password: 'application secret' }], 'secretkey')).toBe(
    'app:AESFNnpbSjUeAzg1a4Gd2JQDVzwGauHPZwJVBgMiNtKI7g=\n',
  );
});
