import type { Controller, RunningController } from './controller.ts';
import type { EventRecorder } from './events.ts';
import { startHealthServer } from './health.ts';
import type { KubeClient } from './kube-client.ts';
import { createLeaderElection, type LeaderElectionOptions } from './leader-election.ts';
import { type Logger, silentLogger } from './logger.ts';
import type { RuntimeMetrics } from './metrics.ts';
import { type Followed, watchNamespaces } from './namespaces.ts';

/** A process that runs controllers. */
export interface OperatorProcess {
  readonly client: KubeClient;
  readonly informers: readonly Followed[];
  readonly controllers: readonly Controller[];
  readonly metrics: RuntimeMetrics;
  readonly healthPort: number;
  readonly healthHost?: string | undefined;
  /** Without it this process leads at once. */
  readonly election?:
    | Omit<LeaderElectionOptions, 'client' | 'log' | 'onStartedLeading' | 'beforeRelease'>
    | undefined;
  readonly events?: EventRecorder | undefined;
  readonly log?: Logger | undefined;
  /** How long running reconciles may go on after the stop; 20 s by default (pods get 30 s). */
  readonly graceMs?: number | undefined;
  /** Told of the port that the health server got. */
  onHealthServing?(port: number): void;
}

/** How a process ended: after `lost` it must exit, since another may lead. */
export type Ending = 'stopped' | 'lost';

/** What a reconcile that ignores its signal gets on top, before the process ends without it. */
const abortedGraceMs = 5_000;

/**
 * Runs until `stop` aborts or leadership is lost: serves health and metrics, fills the caches, stands for election, and works
 * while it leads. On the stop it takes in nothing more, lets running reconciles finish, and releases the lease after that.
 */
export async function runOperator(options: OperatorProcess, stop: AbortSignal): Promise<Ending> {
  const { client, informers, controllers, metrics, log = silentLogger, graceMs = 20_000 } = options;
  const following = new AbortController();
  const namespaces = watchNamespaces(informers, { log, onLeftOut: metrics.leftOut });
  const health = await startHealthServer({
    port: options.healthPort,
    host: options.healthHost,
    metrics: metrics.registry,
    ready: () => (stop.aborted ? 'shutting down' : namespaces.problem()),
  });
  options.onHealthServing?.(health.port);

  let running: RunningController[] = [];
  function startLeading(signal: AbortSignal): void {
    metrics.leading(true);
    running = controllers.map((controller) =>
      controller.start({
        signal,
        namespaces,
        log,
        queueObserver: metrics.queue(controller.name),
        onReconciled: (outcome, ms) => metrics.reconciled(controller.name, outcome, ms),
      }),
    );
  }

  /** Whether all work has ended. */
  async function stopControllers(): Promise<boolean> {
    const stopped = Promise.all(running.map((controller) => controller.stop(graceMs)));
    const finished = await within(stopped, graceMs + abortedGraceMs);
    if (!finished) log.error({}, 'a reconcile did not heed its signal; ending without it');
    return finished;
  }

  let ending: Ending = 'stopped';
  try {
    for (const informer of informers) informer.start(following.signal);
    ending = await workUntilStopped();
    log.info({ ending }, 'operator ends');
    return ending;
  } finally {
    metrics.leading(false);
    following.abort(new Error('the process ends'));
    // After a loss another may lead already: nothing holds up the exit.
    if (options.events !== undefined && ending !== 'lost')
      await within(options.events.flush(), abortedGraceMs);
    await health.close();
    client.close();
  }

  async function workUntilStopped(): Promise<Ending> {
    try {
      await namespaces.settled(stop);
    } catch (error) {
      if (stop.aborted) return 'stopped';
      throw error;
    }
    if (options.election === undefined) return await leadAlone();
    const election = createLeaderElection({
      ...options.election,
      client,
      log,
      onStartedLeading: startLeading,
      beforeRelease: stopControllers,
    });
    return (await election.run(stop)) === 'lost' ? 'lost' : 'stopped';
  }

  async function leadAlone(): Promise<Ending> {
    const work = new AbortController();
    startLeading(work.signal);
    if (!stop.aborted) {
      await new Promise<void>((resolve) => stop.addEventListener('abort', () => resolve(), { once: true }));
    }
    await stopControllers();
    work.abort(stop.reason);
    return 'stopped';
  }
}

async function within(work: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), ms);
  });
  try {
    return await Promise.race([work.then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
}
