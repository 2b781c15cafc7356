import { isAlreadyExists, isConflict } from './api-error.ts';
import { type Clock, jittered, microTime, pause, systemClock } from './clock.ts';
import type { KubeClient } from './kube-client.ts';
import { apiVersionOf, type KubernetesObject, keyString, type ObjectKey } from './kubernetes-object.ts';
import { leaseType } from './kubernetes-types.ts';
import { runListWatch } from './list-watch.ts';
import { type Logger, silentLogger } from './logger.ts';
import { messageOf } from './transport.ts';

/** How to stand for election. */
export interface LeaderElectionOptions {
  /** Needs get, create, update, list and watch on Leases of the namespace. */
  readonly client: KubeClient;
  readonly lease: ObjectKey;
  /** Unique per process: the pod's name and a random suffix. */
  readonly identity: string;
  /** How long others wait after the last renewal that they saw; 15 s by default. */
  readonly leaseDurationMs?: number | undefined;
  /** The leader gives up when it could not renew for so long; 10 s by default. */
  readonly renewDeadlineMs?: number | undefined;
  /** Between tries that failed; 2 s by default. */
  readonly retryPeriodMs?: number | undefined;
  /** Between renewals while all is well; a third of `leaseDurationMs` by default. */
  readonly renewPeriodMs?: number | undefined;
  readonly clock?: Clock | undefined;
  readonly random?: (() => number) | undefined;
  readonly log?: Logger | undefined;
  /** The signal aborts at once when leadership ends. */
  onStartedLeading(signal: AbortSignal): void;
  /** Ends the work before the lease is released on shutdown; false: some goes on, and the lease is left to run out. */
  beforeRelease?(): Promise<boolean>;
  onNewLeader?(identity: string): void;
}

/** A candidate. */
export interface LeaderElection {
  /** False from the moment on at which another might lead. */
  isLeader(): boolean;
  /**
   * Stands for election until the signal aborts (then the lease is released once the work has ended) or leadership is lost;
   * resolves after that.
   */
  run(signal: AbortSignal): Promise<'released' | 'lost'>;
}

interface LeaseSpec {
  holderIdentity?: string;
  leaseDurationSeconds?: number;
  acquireTime?: string;
  renewTime?: string;
  leaseTransitions?: number;
}

interface Lease extends KubernetesObject {
  spec?: LeaseSpec;
}

/** The last Lease seen, and when by our own clock: the times in it are those of other machines and are never compared. */
interface Observation {
  readonly lease: Lease;
  readonly atMs: number;
  /** Somebody has deleted it, which its holder may not know yet. */
  readonly isDeleted?: boolean;
}

/** Makes a candidate. */
export function createLeaderElection(options: LeaderElectionOptions): LeaderElection {
  const { client, lease: key, identity } = options;
  const { clock = systemClock, random = Math.random, log = silentLogger } = options;
  const { leaseDurationMs = 15_000, renewDeadlineMs = 10_000, retryPeriodMs = 2_000 } = options;
  const renewPeriodMs = options.renewPeriodMs ?? leaseDurationMs / 3;
  if (
    !(leaseDurationMs > renewDeadlineMs && renewDeadlineMs > retryPeriodMs && renewDeadlineMs > renewPeriodMs)
  ) {
    throw new RangeError('leader election needs leaseDuration > renewDeadline > retryPeriod and renewPeriod');
  }
  const named = { lease: keyString(key), identity };
  let observed: Observation | undefined;
  /** When the request was sent by which we last got or kept the lease. */
  let heldSinceMs = Number.NEGATIVE_INFINITY;
  let leading = false;
  let wake: () => void = () => {};

  const isLeader = (): boolean => leading && clock.monotonicMs() - heldSinceMs < renewDeadlineMs;

  function observe(lease: Lease): void {
    if (observed?.lease.metadata.resourceVersion === lease.metadata.resourceVersion) return;
    const before = observed?.lease.spec?.holderIdentity;
    observed = { lease, atMs: clock.monotonicMs() };
    const holder = lease.spec?.holderIdentity ?? '';
    if (holder !== '' && holder !== before) options.onNewLeader?.(holder);
    wake();
  }

  /** A Lease that is deleted ends nobody's time: its holder still works, and makes it anew. */
  function observeDeletion(): void {
    if (observed === undefined) return;
    observed = { ...observed, isDeleted: true };
    wake();
  }

  /** Another has held the lease since: it may have acted, so ours is over even if the lease is free again by now. */
  function isStolen(): boolean {
    return leading && observed !== undefined && observed.lease.spec?.holderIdentity !== identity;
  }

  /** How long the observed holder may still lead; 0 when the lease is free or ours. */
  function remainingMs(): number {
    const spec = observed?.lease.spec;
    if (observed === undefined || spec?.holderIdentity === undefined || spec.holderIdentity === '') return 0;
    if (spec.holderIdentity === identity) return 0;
    const durationMs = (spec.leaseDurationSeconds ?? leaseDurationMs / 1_000) * 1_000;
    return Math.max(0, observed.atMs + durationMs - clock.monotonicMs());
  }

  function claim(previous: LeaseSpec | undefined): LeaseSpec {
    const now = microTime(clock.now());
    const ours = previous?.holderIdentity === identity;
    return {
      ...previous,
      holderIdentity: identity,
      leaseDurationSeconds: Math.ceil(leaseDurationMs / 1_000),
      acquireTime: ours ? (previous.acquireTime ?? now) : now,
      renewTime: now,
      leaseTransitions: (previous?.leaseTransitions ?? 0) + (ours || previous === undefined ? 0 : 1),
    };
  }

  /** One try to get or keep the lease; what it throws says that the outcome is not known or that the server refused. */
  async function acquireOrRenew(
    fresh: boolean,
    call: { signal: AbortSignal; timeoutMs: number },
  ): Promise<boolean> {
    if (fresh || observed === undefined) {
      const found = await client.get<Lease>(leaseType, key, call);
      if (found !== undefined) observe(found);
      else observeDeletion();
    }
    if (remainingMs() > 0 || isStolen()) return false;
    const sentMs = clock.monotonicMs();
    const written = await write(observed?.isDeleted === true ? undefined : observed?.lease, call);
    if (written === undefined) return fresh ? false : await acquireOrRenew(true, call);
    observe(written);
    heldSinceMs = sentMs;
    return true;
  }

  async function write(
    previous: Lease | undefined,
    call: { signal: AbortSignal; timeoutMs: number },
  ): Promise<Lease | undefined> {
    const spec = claim(previous?.spec);
    try {
      if (previous !== undefined) return await client.update<Lease>(leaseType, { ...previous, spec }, call);
      const metadata = { name: key.name, namespace: key.namespace };
      const created = { apiVersion: apiVersionOf(leaseType), kind: leaseType.kind, metadata, spec };
      return await client.create<Lease>(leaseType, created, call);
    } catch (error) {
      if (isConflict(error) || isAlreadyExists(error)) return undefined;
      throw error;
    }
  }

  /** A try whose failure is only logged, since another will follow. */
  async function attempt(fresh: boolean, timeoutMs: number, signal: AbortSignal): Promise<boolean> {
    try {
      return await acquireOrRenew(fresh, { signal, timeoutMs });
    } catch (error) {
      if (!signal.aborted) log.warn({ ...named, error: messageOf(error) }, 'leader election: try failed');
      return false;
    }
  }

  /** Waits until the lease is ours. A watch tells of each renewal, so that waiting costs no requests. */
  async function acquire(signal: AbortSignal): Promise<void> {
    const waiting = new AbortController();
    const stopWaiting = (): void => waiting.abort();
    signal.addEventListener('abort', stopWaiting, { once: true });
    const watching = runListWatch<Lease>(
      {
        client,
        type: leaseType,
        clock,
        random,
        log,
        namespace: key.namespace,
        fieldSelector: `metadata.name=${key.name}`,
      },
      {
        replace: (leases) => leases.forEach(observe),
        change: (event) => {
          if (event.type === 'deleted') observeDeletion();
          else if (event.type !== 'bookmark') observe(event.object);
        },
        alive: () => {},
      },
      waiting.signal,
    );
    while (!signal.aborted && !(await attempt(true, renewDeadlineMs / 2, signal))) {
      if (remainingMs() === 0) await pause(clock, jittered(retryPeriodMs, 0.2, random), signal);
      while (!signal.aborted && remainingMs() > 0) await nextObservation(remainingMs(), signal);
    }
    signal.removeEventListener('abort', stopWaiting);
    stopWaiting();
    await watching;
  }

  async function nextObservation(atMostMs: number, signal: AbortSignal): Promise<void> {
    const woken = new AbortController();
    const end = (): void => woken.abort();
    wake = end;
    signal.addEventListener('abort', end, { once: true });
    await pause(clock, atMostMs, woken.signal);
    signal.removeEventListener('abort', end);
    wake = () => {};
  }

  /** Renews until the signal aborts (true) or the deadline has passed or another holds the lease (false). */
  async function renew(signal: AbortSignal, lost: AbortSignal): Promise<boolean> {
    const either = AbortSignal.any([signal, lost]);
    let ok = true;
    let triedMs = clock.monotonicMs();
    while (!either.aborted) {
      const dueMs = ok ? heldSinceMs + renewPeriodMs : triedMs + retryPeriodMs;
      await pause(clock, dueMs - clock.monotonicMs(), either);
      if (either.aborted) break;
      triedMs = clock.monotonicMs();
      const leftMs = heldSinceMs + renewDeadlineMs - triedMs;
      if (leftMs <= 0) return false;
      // A connection may have died without a word: time is left for another try on a new one.
      const timeoutMs = Math.min(leftMs, Math.max(leftMs - retryPeriodMs, retryPeriodMs));
      ok = await attempt(!ok, timeoutMs, lost);
      if (!ok && isStolen()) return false;
    }
    return !lost.aborted;
  }

  async function release(): Promise<void> {
    const lease = observed?.lease;
    if (lease?.spec?.holderIdentity !== identity) return;
    const spec = {
      ...lease.spec,
      holderIdentity: '',
      leaseDurationSeconds: 1,
      renewTime: microTime(clock.now()),
    };
    try {
      await client.update<Lease>(leaseType, { ...lease, spec }, { timeoutMs: retryPeriodMs });
      log.info(named, 'leader election: lease released');
    } catch (error) {
      log.warn({ ...named, error: messageOf(error) }, 'leader election: lease not released, it will run out');
    }
  }

  async function lead(signal: AbortSignal): Promise<'released' | 'lost'> {
    const work = new AbortController();
    let cancel: () => void = () => {};
    /** A timer of its own: the renewing loop may hang in a request when the time is over. */
    const guard = (): void => {
      const leftMs = heldSinceMs + renewDeadlineMs - clock.monotonicMs();
      if (leftMs <= 0) work.abort(new Error('leadership lost: the lease could not be renewed in time'));
      else cancel = clock.after(leftMs, guard);
    };
    guard();
    leading = true;
    log.info(named, 'leader election: leading');
    options.onStartedLeading(work.signal);
    const kept = await renew(signal, work.signal);
    if (!kept) {
      leading = false;
      cancel();
      work.abort(new Error('leadership lost: another process holds the lease'));
      log.error(named, 'leader election: leadership lost');
      return 'lost';
    }
    const outcome = await stepDown(work);
    cancel();
    return outcome;
  }

  /** Work under way may finish while the lease is still ours: it is renewed meanwhile. */
  async function stepDown(work: AbortController): Promise<'released' | 'lost'> {
    const finished = new AbortController();
    const renewing = renew(finished.signal, work.signal);
    let isOver = true;
    try {
      isOver = (await options.beforeRelease?.()) ?? true;
    } finally {
      finished.abort();
    }
    const kept = await renewing;
    leading = false;
    work.abort(new Error('leadership released'));
    if (!kept || !isOver) return 'lost';
    await release();
    return 'released';
  }

  return {
    isLeader,
    async run(signal) {
      await acquire(signal);
      if (!signal.aborted) return await lead(signal);
      await release();
      return 'released';
    },
  };
}
