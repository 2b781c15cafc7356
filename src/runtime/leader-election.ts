import type { Clock } from './clock.ts';
import type { KubeClient } from './kube-client.ts';
import type { ObjectKey } from './kubernetes-object.ts';
import type { Logger } from './logger.ts';

/** How to stand for election. */
export interface LeaderElectionOptions {
  readonly client: KubeClient;
  readonly lease: ObjectKey;
  /** Unique per process; the pod's name and a random suffix. */
  readonly identity: string;
  /** How long others wait after the last renewal that they saw; 15 s by default. */
  readonly leaseDurationMs?: number;
  /** The leader gives up when it could not renew for so long; 10 s by default. */
  readonly renewDeadlineMs?: number;
  /** Between tries; 2 s by default. */
  readonly retryPeriodMs?: number;
  readonly clock?: Clock;
  readonly random?: () => number;
  readonly log?: Logger;
  /** The signal aborts at once when leadership is lost. */
  onStartedLeading(signal: AbortSignal): void | Promise<void>;
  /** `lost`: another may lead now, so the process should end; `released`: given up on shutdown. */
  onStoppedLeading?(cause: 'lost' | 'released'): void;
  onNewLeader?(identity: string): void;
}

/** A candidate. */
export interface LeaderElection {
  isLeader(): boolean;
  /** Stands for election until the signal aborts (then the lease is released) or leadership is lost; resolves after that. */
  run(signal: AbortSignal): Promise<'released' | 'lost'>;
}
