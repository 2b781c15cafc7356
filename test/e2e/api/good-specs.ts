import {
  autoscaled,
  directory,
  minimal,
  parameters,
  ranges,
  regions,
  type Spec,
  table,
  tables,
} from './specs.ts';

const hundred = Array.from({ length: 200 }, (_, index) => index);

/** Specs that must be accepted, with the fields that the operator relies on. */
export const goodSpecs: readonly { readonly what: string; readonly spec: Spec }[] = [
  { what: 'the least', spec: minimal },
  {
    what: 'quantities as numbers',
    spec: { storage: { size: 1073741824 }, resources: { limits: { cpu: 2 } } },
  },
  {
    what: 'requests up to the limits',
    spec: {
      ...minimal,
      resources: { requests: { cpu: '500m', memory: '1Gi' }, limits: { cpu: 1, memory: '1024Mi' } },
    },
  },
  {
    what: 'quorum with too few members (it falls back)',
    spec: { ...minimal, members: 2, durability: 'quorum' },
  },
  {
    what: 'parameters',
    spec: parameters({ work_mem: '8MB', 'auto_explain.log_min_duration': '1s', max_wal_senders: '40' }),
  },
  {
    what: 'a group whose layout one table gives',
    spec: tables(table({ group: 'customer', buckets: 32 }), table({ name: 'lines', group: 'customer' })),
  },
  {
    what: 'a group whose tables give the same layout',
    spec: tables(
      table({ group: 'customer', buckets: 32 }),
      table({ name: 'lines', group: 'customer', buckets: 32 }),
    ),
  },
  {
    what: 'ranges open at both ends',
    spec: ranges([{ to: '10' }, { from: '10', to: '20' }, { from: '20' }]),
  },
  {
    what: 'ranges closed at both ends',
    spec: ranges([
      { from: '-5', to: '10' },
      { from: '10', to: '20' },
    ]),
  },
  {
    what: 'a gap that a default fills',
    spec: ranges([{ to: '9' }, { from: '10', to: '20' }], { defaultBucket: true }),
  },
  { what: 'ranges of dates', spec: ranges([{ to: '2024-01-01' }, { from: '2024-01-01', to: '2025-01-01' }]) },
  { what: 'ranges of texts', spec: ranges([{ to: 'm' }, { from: 'm' }]) },
  {
    what: 'regions in zones',
    spec: regions(
      [
        { name: 'eu', values: ['de', 'fr'], zones: ['zone-a'] },
        { name: 'us', values: ['us'], zones: ['zone-b'], buckets: 4 },
      ],
      { hashKey: 'customer_id', key: 'country' },
      { count: 2, zones: ['zone-a', 'zone-b'] },
    ),
  },
  {
    what: 'tenants',
    spec: directory([{ value: 'acme', shard: 's0' }, { value: 'globex' }], { buckets: 16 }),
  },
  { what: 'a reference table', spec: tables({ name: 'countries', strategy: 'reference' }) },
  {
    what: 'shards that scale themselves, at night',
    spec: {
      ...autoscaled({
        minShards: 2,
        metrics: [
          { type: 'CPU', target: 60 },
          { type: 'Size', target: '200Gi' },
        ],
        behavior: { scaleIn: { stabilization: '2h' } },
      }),
      rebalance: { interval: '5s', window: { start: '22:00', end: '04:30', days: ['Sat', 'Sun'] } },
    },
  },
  {
    what: 'autoscaling of shards that only tells, without a rebalancer that moves',
    spec: { ...autoscaled({ dryRun: true }), rebalance: { mode: 'manual', dryRun: true } },
  },
  {
    what: 'as many tables, ranges and parameters as there may be',
    spec: {
      ...tables(
        ...hundred.map((index) =>
          index < 8
            ? table({
                name: `t${index}`,
                strategy: 'range',
                bounds: hundred.map((bound) => ({ from: `${bound}`, to: `${bound + 1}` })),
              })
            : table({ name: `t${index}` }),
        ),
      ),
      postgres: {
        parameters: Object.fromEntries(hundred.map((index) => [`my.parameter_${index}`, 'x'.repeat(100)])),
      },
    },
  },
];
