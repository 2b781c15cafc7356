import { existsSync, globSync, readFileSync } from 'node:fs';

/** A process of this machine that runs in a pod of the local cluster. */
export interface PodProcess {
  readonly pid: number;
  readonly parent: number;
  readonly name: string;
  /** When it began, in clock ticks since the machine did. */
  readonly startedAt: number;
}

/**
 * The processes of all containers of a pod, which the local cluster's nodes run on this machine, the oldest first; pause is
 * left out.
 */
export function processesOf(podUid: string): PodProcess[] {
  const root = existsSync('/sys/fs/cgroup/pids') ? '/sys/fs/cgroup/pids' : '/sys/fs/cgroup';
  // kubelet writes the uid of a static pod's group with underscores under systemd; here the driver is cgroupfs.
  const groups = globSync(`${root}/herdsman/*/kubepods/**/pod${podUid}/*/cgroup.procs`);
  return groups
    .flatMap((group) => readFileSync(group, 'utf8').trim().split('\n'))
    .filter((line) => line !== '')
    .flatMap((line) => processOf(Number(line)))
    .filter(({ name }) => name !== 'pause')
    .toSorted((a, b) => a.startedAt - b.startedAt);
}

/** Empty when the process has ended meanwhile. */
function processOf(pid: number): PodProcess[] {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const [, name = '', rest = ''] = /^\d+ \((.*)\) (.*)/.exec(stat) ?? [];
    // Fields 4 and 22 of proc(5), counted from the third.
    const fields = rest.split(' ');
    return [{ pid, parent: Number(fields[1]), name, startedAt: Number(fields[19]) }];
  } catch {
    return [];
  }
}

/** The PostgreSQL server's first process in a pod. */
export function postmasterOf(podUid: string): PodProcess {
  const processes = processesOf(podUid);
  const servers = processes.filter(({ name }) => name === 'postgres');
  const postmaster = servers.find(({ parent }) => !servers.some(({ pid }) => pid === parent));
  if (postmaster === undefined) {
    throw new Error(`no postgres runs in pod ${podUid}: ${processes.map(({ name }) => name).join(', ')}`);
  }
  return postmaster;
}

/** The process of a standby in a pod that receives WAL from the server that it streams from. */
export function walReceiverOf(podUid: string): PodProcess {
  const receiver = processesOf(podUid).find(({ pid }) =>
    readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('walreceiver'),
  );
  if (receiver === undefined) throw new Error(`nothing receives WAL in pod ${podUid}`);
  return receiver;
}

/** Sends a signal to each process that is still there. */
export function signalAll(processes: readonly PodProcess[], signal: NodeJS.Signals): void {
  for (const { pid } of processes) {
    try {
      process.kill(pid, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
}
