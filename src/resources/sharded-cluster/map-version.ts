import type { KubeClient } from '../../runtime/kube-client.ts';
import { shardMapType } from './kinds.ts';
import type { ShardedCluster, ShardMapObject } from './model.ts';
import { shardMapName } from './names.ts';

/** Throws unless the API server still has the ShardMap that a plan was made on: the cache may not show a move yet. */
export async function requireMapVersion(
  client: Pick<KubeClient, 'read'>,
  { metadata }: Pick<ShardedCluster, 'metadata'>,
  version: string,
  signal: AbortSignal,
): Promise<void> {
  const name = shardMapName(metadata.name);
  const key = { namespace: metadata.namespace, name };
  const live = await client.read<ShardMapObject>(shardMapType, key, { signal, timeoutMs: 5_000 });
  if (live.state === 'unknown') throw live.error;
  if (live.state === 'absent') throw new Error(`ShardMap ${name} is gone, so no shard is taken away`);
  if (version === '' || live.value.metadata.resourceVersion !== version) {
    throw new Error(
      `ShardMap ${name} has changed meanwhile, so no shard is taken away before it was read again`,
    );
  }
}
