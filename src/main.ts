import { randomBytes } from 'node:crypto';
import { pino } from 'pino';
import { readConfig } from './config.ts';
import { createConnections } from './postgres/connections.ts';
import { conversionController } from './resources/conversion/controller.ts';
import { importController } from './resources/import/controller.ts';
import { poolerConfigController } from './resources/pooler-config/controller.ts';
import { createPoolerGate } from './resources/pooler-config/gate.ts';
import { noGatedShards } from './resources/pooler-config/gated-shards.ts';
import { createPoolerObserver } from './resources/pooler-config/observe.ts';
import { allPoolerInformers, createPoolerSources } from './resources/pooler-config/sources.ts';
import { readReplicaSetController } from './resources/read-replica-set/controller.ts';
import { modelSweeper } from './resources/read-replica-set/logical/sweeper.ts';
import { allReplicaInformers, createReplicaSources } from './resources/read-replica-set/sources.ts';
import { rebalanceController } from './resources/rebalance/controller.ts';
import { retentionController } from './resources/retention/controller.ts';
import { clusterVolumes, replicaVolumes } from './resources/retention/holder.ts';
import { slotSweeper } from './resources/retention/slot-sweeper.ts';
import { shardMoveController } from './resources/shard-move/controller.ts';
import { moveSweeper } from './resources/shard-move/sweeper.ts';
import { memberAddress } from './resources/shard-move/world.ts';
import { shardedClusterController } from './resources/sharded-cluster/controller.ts';
import { createFindPrimaries, createFindStandbys } from './resources/sharded-cluster/primaries.ts';
import { allInformers, createSources } from './resources/sharded-cluster/sources.ts';
import { systemClock } from './runtime/clock.ts';
import { createEventRecorder } from './runtime/events.ts';
import { createKubeClient } from './runtime/kube-client.ts';
import { createRuntimeMetrics } from './runtime/metrics.ts';
import { runOperator } from './runtime/process.ts';
import { terminationSignal } from './runtime/shutdown.ts';
import { version } from './version.ts';

const config = readConfig(process.env);
const log = pino({ level: config.logLevel, base: { pod: config.podName } });
const metrics = createRuntimeMetrics();
const client = await createKubeClient({
  userAgent: `herdsman/${version}`,
  fieldManager: 'herdsman',
  onRequest: metrics.request,
});
const events = createEventRecorder({
  client,
  component: 'herdsman.dev/operator',
  instance: config.podName,
  log,
});
// The server ends no watch before half an hour by itself; bookmarks tell that it is alive.
const following = { client, log, onRestart: metrics.watchRestarted, watchSeconds: 1_800 };
const sources = createSources(config.namespaces, following);
const poolerSources = createPoolerSources(config.namespaces, following);
const replicas = createReplicaSources(config.namespaces, following);
const connections = createConnections();
const findPrimaries = createFindPrimaries({ client, sources, monotonicMs: systemClock.monotonicMs });
const findStandbys = createFindStandbys({ client, sources, monotonicMs: systemClock.monotonicMs });
const gated = noGatedShards();
const poolers = createPoolerObserver({
  client,
  sources,
  poolerSources,
  connections,
  gated,
  clock: systemClock,
});
const gate = createPoolerGate({
  poolerSources,
  access: poolers.access,
  gated,
  clock: systemClock,
  log,
});

const ending = await runOperator(
  {
    client,
    informers: [
      ...allInformers(sources),
      ...allPoolerInformers(poolerSources),
      ...allReplicaInformers(replicas),
    ],
    controllers: [
      shardedClusterController({
        client,
        sources,
        connections,
        events,
        gate,
        clock: systemClock,
        settings: { postgresImage: config.postgresImage },
      }),
      poolerConfigController({
        client,
        sources,
        poolerSources,
        observer: poolers,
        gated,
        events,
        clock: systemClock,
        settings: { postgresImage: config.postgresImage },
      }),
      readReplicaSetController({
        client,
        sources,
        replicas,
        poolerSources,
        connections,
        events,
        clock: systemClock,
        settings: { postgresImage: config.postgresImage },
      }),
      conversionController({ client, sources, connections, events, clock: systemClock, findPrimaries }),
      importController({ client, sources, connections, events, clock: systemClock, findPrimaries }),
      rebalanceController({ client, sources, connections, events, clock: systemClock, findPrimaries }),
      shardMoveController({
        client,
        sources,
        connections,
        events,
        clock: systemClock,
        findPrimaries,
        addressOf: memberAddress,
      }),
      moveSweeper({ client, sources, connections, events, clock: systemClock, findPrimaries, findStandbys }),
      retentionController({ client, holder: clusterVolumes(sources), events, clock: systemClock }),
      retentionController({ client, holder: replicaVolumes(sources, replicas), events, clock: systemClock }),
      slotSweeper({ client, sources, replicas, connections, events, findPrimaries, clock: systemClock }),
      modelSweeper({ client, sources, connections, events, findPrimaries }),
    ],
    metrics,
    healthPort: config.httpPort,
    election: {
      lease: { namespace: config.podNamespace, name: config.leaseName },
      identity: `${config.podName}_${randomBytes(4).toString('hex')}`,
    },
    events,
    log,
  },
  terminationSignal(),
);
// After a loss another may lead already: nothing holds up the exit.
if (ending !== 'lost') await connections.close();
process.exit(ending === 'lost' ? 1 : 0);
