import { ensureOperator } from '../support/operator.ts';
import { converge } from './converge.ts';
import { failover } from './failover.ts';
import { idle } from './idle.ts';
import { move } from './move.ts';
import { pooler } from './pooler.ts';
import { rebalance } from './rebalance.ts';
import { replicas } from './replicas.ts';
import { type Benchmark, machine, note } from './report.ts';
import { switchover } from './switchover.ts';

// npm run -s bench -- NAME: prints one JSON object as its last line. Exit 0 when it measured, whatever the result.

const benchmarks: Readonly<Record<string, Benchmark>> = {
  converge,
  failover,
  idle,
  move,
  pooler,
  rebalance,
  replicas,
  switchover,
};

const [name = '', ...words] = process.argv.slice(2);
const benchmark = benchmarks[name];
if (benchmark === undefined) {
  note(`usage: npm run -s bench -- ${Object.keys(benchmarks).join(' | ')}`);
  process.exit(1);
}
try {
  note('cluster, images and operator');
  await ensureOperator(note);
  const { reach, detail } = await benchmark(words);
  console.log(JSON.stringify({ name, machine: machine(), reach, detail }));
  process.exit(0);
} catch (error) {
  note(`${name} could not be measured: ${error instanceof Error ? (error.stack ?? error.message) : error}`);
  process.exit(1);
}
