import { randomBytes } from 'node:crypto';
import { pino } from 'pino';
import { readConfig } from './config.ts';
import { createConnections } from './postgres/connections.ts';
import { rebalanceController } from './resources/rebalance/controller.ts';
import { retentionController } from './resources/retention/controller.ts';
import { shardedClusterController } from './resources/sharded-cluster/controller.ts';
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
const sources = createSources(config.namespaces, { client, log, onRestart: metrics.watchRestarted });
const connections = createConnections();

const ending = await runOperator(
  {
    client,
    informers: allInformers(sources),
    controllers: [
      shardedClusterController({
        client,
        sources,
        connections,
        events,
        clock: systemClock,
        settings: { postgresImage: config.postgresImage },
      }),
      rebalanceController({ client, sources, connections, events, clock: systemClock }),
      retentionController({ client, sources, events, clock: systemClock }),
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
await connections.close();
process.exit(ending === 'lost' ? 1 : 0);
