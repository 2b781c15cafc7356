/** Eight hexadecimal digits that stand for a move, from the uid of what asks for it. */
export function moveId(uid: string): string {
  return uid.replaceAll('-', '').slice(0, 8);
}

/** What the names of everything outside of the map begin with that one move makes: `hm_1a2b3c4d_`. */
export function movePrefix(id: string): string {
  return `hm_${id}_`;
}

/** Whether something in a database belongs to some move: a slot, a subscription, a table that waits for the end of a retention. */
export function isOfMove(name: string): boolean {
  return /^hm_[0-9a-f]{8}_/.test(name);
}

/** Name of publication, slot, subscription and role of one copy: `hm_1a2b3c4d_2`. */
export function copyName(id: string, copy: number): string {
  return `${movePrefix(id)}${copy}`;
}

/** Which of the two prepared transactions of an attempt. */
export type Side = 'fence' | 'open';

/** What the name of a prepared transaction says. */
export interface Gid {
  readonly id: string;
  readonly attempt: number;
  readonly side: Side;
  /** Epoch that the bucket gets when the attempt succeeds. */
  readonly epoch: number;
}

/** Name of a prepared transaction: `hm_1a2b3c4d_a3_fence_17`. */
export function gidOf({ id, attempt, side, epoch }: Gid): string {
  return `${movePrefix(id)}a${attempt}_${side}_${epoch}`;
}

/** Reads the name of a prepared transaction; `undefined` when it belongs to no move. */
export function parseGid(gid: string): Gid | undefined {
  const match = /^hm_([0-9a-f]{8})_a([0-9]+)_(fence|open)_([0-9]+)$/.exec(gid);
  if (match === null) return undefined;
  const [, id = '', attempt, side, epoch] = match;
  return { id, attempt: Number(attempt), side: side as Side, epoch: Number(epoch) };
}

/** Name of what is left of a leaf on the shard that a bucket came from, until the retention is over. */
export function retiredName(id: string, index: number): string {
  return `${movePrefix(id)}old_${index}`;
}
