import { autoscaled, type BadSpec, minimal, parameters } from './specs.ts';

/** Specs that must be refused when the object is made. */
export const badSpecs: readonly BadSpec[] = [
  { what: 'no volume size', spec: {}, says: 'storage: Required value' },
  {
    what: 'an import that verifies without an authority',
    spec: {
      ...minimal,
      bootstrap: {
        import: { host: 'old', database: 'shop', credentials: 'old', tls: { mode: 'verify-full' } },
      },
    },
    says: 'verify-full needs the authority',
  },
  {
    what: 'an import from nowhere',
    spec: { ...minimal, bootstrap: { import: { database: 'shop', credentials: 'old' } } },
    says: 'bootstrap.import.host: Required value',
  },
  {
    what: 'an unknown PostgreSQL version',
    spec: { ...minimal, postgres: { version: 16 } },
    says: 'only PostgreSQL 17 is supported: write "version: 17"',
  },
  {
    what: "PostgreSQL's own database",
    spec: { ...minimal, postgres: { database: 'postgres' } },
    says: "this database is PostgreSQL's own",
  },
  {
    what: "the name of the poolers' console",
    spec: { ...minimal, postgres: { database: 'pgbouncer' } },
    says: 'poolers have their console under this name',
  },
  { what: 'no member', spec: { ...minimal, members: 0 }, says: 'should be greater than or equal to 1' },
  {
    what: 'too many shards',
    spec: { ...minimal, shards: { count: 129 } },
    says: 'should be less than or equal to 128',
  },
  { what: 'a size that is no quantity', spec: { storage: { size: '10 GB' } }, says: 'spec.storage.size' },
  {
    what: 'more CPU requested than allowed',
    spec: { ...minimal, resources: { requests: { cpu: 2 }, limits: { cpu: '500m' } } },
    says: 'requests.cpu is more than limits.cpu',
  },
  {
    what: 'more memory requested than allowed',
    spec: { ...minimal, resources: { requests: { memory: '2Gi' }, limits: { memory: '1G' } } },
    says: 'requests.memory is more than limits.memory',
  },
  {
    what: 'a misnamed parameter',
    spec: parameters({ 'work_mem; drop': '1' }),
    says: 'write the names of parameters in lower case',
  },
  {
    what: 'a parameter in upper case',
    spec: parameters({ TimeZone: 'UTC' }),
    says: 'write the names of parameters in lower case',
  },
  {
    what: 'a value of two lines',
    spec: parameters({ work_mem: "1MB\nfsync = 'off'" }),
    says: 'spec.postgres.parameters.work_mem',
  },
  { what: 'a port', spec: parameters({ port: '5433' }), says: 'remove "port", which Herdsman sets itself' },
  {
    what: 'synchronous standbys',
    spec: parameters({ synchronous_standby_names: '*' }),
    says: 'use spec.durability',
  },
  { what: 'a TLS setting', spec: parameters({ ssl_cert_file: '/x' }), says: 'use spec.tls' },
  {
    what: 'certificates that live for minutes',
    spec: { ...minimal, tls: { certificateLifetime: '10m' } },
    says: 'write hours or days, such as "24h"',
  },
  {
    what: 'certificates that do not live at all',
    spec: { ...minimal, tls: { certificateLifetime: '0h' } },
    says: 'write hours or days, such as "24h"',
  },
  {
    what: 'too few prepared transactions',
    spec: parameters({ max_prepared_transactions: '0' }),
    says: 'write at least 32 for "max_prepared_transactions"',
  },
  {
    what: 'too few replication slots',
    spec: parameters({ max_replication_slots: '10' }),
    says: 'write at least 20 for "max_replication_slots"',
  },
  {
    what: 'a migration without SQL',
    spec: { ...minimal, schema: [{ name: 'one' }] },
    says: 'give the SQL either in "sql" or by "configMapKeyRef"',
  },
  {
    what: 'a migration with two sources',
    spec: {
      ...minimal,
      schema: [{ name: 'one', sql: 'SELECT 1', configMapKeyRef: { name: 'a', key: 'b' } }],
    },
    says: 'one of them, not both',
  },
  {
    what: 'two migrations of one name',
    spec: {
      ...minimal,
      schema: [
        { name: 'one', sql: 'SELECT 1' },
        { name: 'one', sql: 'SELECT 2' },
      ],
    },
    says: 'name="one"',
  },
  {
    what: 'fewer shards at most than at least',
    spec: autoscaled({ minShards: 4, maxShards: 2 }),
    says: 'minShards is more than maxShards',
  },
  {
    what: 'a target of more than all processors',
    spec: autoscaled({ metrics: [{ type: 'CPU', target: 200 }] }),
    says: 'a target for CPU is a percentage',
  },
  {
    what: 'a target of nothing',
    spec: autoscaled({ metrics: [{ type: 'Size', target: 0 }] }),
    says: 'a target of 0 is always exceeded',
  },
  {
    what: 'autoscaling of shards that nobody fills',
    spec: { ...autoscaled({}), rebalance: { mode: 'manual' } },
    says: 'autoscaling of shards fills and empties them by moving buckets',
  },
  {
    what: 'load measured all the time',
    spec: { ...minimal, rebalance: { interval: '1s' } },
    says: 'write "interval: 5s" or more',
  },
  {
    what: 'a window at no time of day',
    spec: { ...minimal, rebalance: { window: { start: '24:00', end: '04:00' } } },
    says: 'spec.rebalance.window.start',
  },
];
