import type { ShardedClusterSpec } from '../../../api/v1alpha1/sharded-cluster.ts';
import { bytesOf, millicoresOf } from './quantity.ts';

/** What one member may use. */
export interface MemberSize {
  /** Bytes of memory; `undefined` when neither a limit nor a request is set. */
  readonly memory: number | undefined;
  /** Thousandths of a processor; `undefined` when neither a limit nor a request is set. */
  readonly cpu: number | undefined;
  /** Bytes of the volume. */
  readonly storage: number;
}

const mebibyte = 1024 ** 2;
/** What Patroni and the operating system need beside PostgreSQL. */
const overhead = 64;
/** PostgreSQL's default of `autovacuum_max_workers`: each may use `maintenance_work_mem`. */
const autovacuumWorkers = 3;
/** Memory that is assumed when none is given; it yields about PostgreSQL's own defaults. */
const assumedMemory = 512;

/** What a member of the cluster may use: limits count before requests. */
export function memberSize(spec: Pick<ShardedClusterSpec, 'resources' | 'storage'>): MemberSize {
  const { limits, requests } = spec.resources;
  const memory = limits?.memory ?? requests?.memory;
  const cpu = limits?.cpu ?? requests?.cpu;
  return {
    memory: memory === undefined ? undefined : bytesOf(memory),
    cpu: cpu === undefined ? undefined : millicoresOf(cpu),
    storage: bytesOf(spec.storage.size),
  };
}

/**
 * PostgreSQL parameters for a server of the size. All grow with the size, and all memory that they allow to be used at
 * once (buffers, one `work_mem` for every connection, all autovacuum workers) fits from 256 MiB on.
 */
export function tune(size: MemberSize): Record<string, string> {
  const memory = size.memory === undefined ? assumedMemory : Math.floor(size.memory / mebibyte);
  const storage = Math.floor(size.storage / mebibyte);

  const sharedBuffers = Math.max(16, Math.floor(memory / 4));
  // Not rounded before all is reckoned: a step in what others take would be a step down in what is left.
  const maintenance = between(memory / 16, 16, 2048);
  const connections = between(memory / 10, 30, 500);
  const rest = memory - memory / 4 - overhead - autovacuumWorkers * maintenance;
  // Crash recovery and a full disk are the two prices of much WAL, hence both bounds.
  const maxWal = clamp(storage / 10, 128, 16 * 1024);

  return {
    shared_buffers: megabytes(sharedBuffers),
    effective_cache_size: megabytes(Math.max(32, (memory / 4) * 3)),
    maintenance_work_mem: megabytes(maintenance),
    work_mem: megabytes(clamp(rest / connections, 1, 256)),
    max_connections: String(Math.floor(connections / 10) * 10),
    wal_buffers: megabytes(clamp(sharedBuffers / 32, 1, 16)),
    max_wal_size: megabytes(maxWal),
    min_wal_size: megabytes(clamp(maxWal / 4, 80, 2048)),
    // While one session fills 16 MB with zeros all commits wait: 100 ms in a container whose memory is limited.
    wal_init_zero: 'off',
    checkpoint_timeout: '10min',
    checkpoint_completion_target: '0.9',
    random_page_cost: '1.1',
    effective_io_concurrency: '200',
    ...parallelism(size.cpu),
  };
}

/** `max_slot_wal_keep_size` on a volume of so many bytes: a slot that nobody reads may keep a quarter of it, and a few segments at least. */
export function slotWalLimit(storage: number): string {
  return megabytes(Math.max(64, storage / mebibyte / 4));
}

/** A processor that is shared with others has nothing to give to parallel workers. */
function parallelism(cpu: number | undefined): Record<string, string> {
  if (cpu === undefined) return {};
  const cores = Math.max(1, Math.floor(cpu / 1000));
  return {
    max_parallel_workers: String(Math.min(cores, 32)),
    max_parallel_workers_per_gather: String(clamp(cores / 2, 0, 4)),
    max_parallel_maintenance_workers: String(clamp(cores / 2, 1, 4)),
  };
}

function clamp(value: number, low: number, high: number): number {
  return Math.floor(between(value, low, high));
}

function between(value: number, low: number, high: number): number {
  return Math.min(Math.max(value, low), high);
}

function megabytes(value: number): string {
  return `${Math.floor(value)}MB`;
}
