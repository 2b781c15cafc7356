import { kubeconfigPath } from '../../test/support/cluster.ts';
import { kubectl } from '../../test/support/kubectl.ts';
import { run } from '../../test/support/program.ts';
import { choosePlatform } from './platform.ts';
import { namespace } from './sample.ts';

const platform = choosePlatform();
if (platform.name === 'yours') {
  // The CRDs stay: they may hold clusters that are not the demo's.
  await kubectl(['delete', 'namespace', namespace, '--ignore-not-found']);
  await run('helm', ['uninstall', 'herdsman', '-n', 'herdsman-system', '--ignore-not-found', '--wait'], {
    environment: { KUBECONFIG: kubeconfigPath() },
  });
  console.log('the demo is gone; the CRDs are still there (kubectl delete -f crds/)');
} else {
  await platform.stop((line) => console.log(line));
}
