import { kubectl } from '../support/kubectl.ts';
import { operatorNamespace } from '../support/operator.ts';
import { percentile } from './report.ts';

/** What one kind of step took, in ms, and how often it was done. */
interface StepTimes {
  readonly count: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

interface Line {
  readonly msg?: string;
  readonly key?: string;
  readonly step?: string;
  readonly outcome?: string;
  readonly tookMs?: number;
}

/** What each kind of step of the moves in a namespace took, as the operator's log tells of it. */
export async function stepTimes(namespace: string, sinceMs: number): Promise<Record<string, StepTimes>> {
  const since = new Date(sinceMs).toISOString();
  const text = await kubectl([
    'logs',
    '-n',
    operatorNamespace,
    'deployment/herdsman',
    `--since-time=${since}`,
  ]);
  const times = new Map<string, number[]>();
  for (const line of text.split('\n')) {
    if (!line.includes('step of a move')) continue;
    const { key, step = '', outcome, tookMs } = JSON.parse(line) as Line;
    if (key?.startsWith(`${namespace}/`) !== true || tookMs === undefined) continue;
    const name = outcome === 'done' ? step : `${step} ${outcome}`;
    times.set(name, [...(times.get(name) ?? []), tookMs]);
  }
  const round = (ms: number) => Math.round(ms * 10) / 10;
  return Object.fromEntries(
    [...times].map(([name, took]) => [
      name,
      {
        count: took.length,
        p50: round(percentile(took, 0.5)),
        p99: round(percentile(took, 0.99)),
        max: round(Math.max(...took)),
      },
    ]),
  );
}
