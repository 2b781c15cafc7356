import { describe, expect, it } from 'vitest';
import { choose, type Machine } from './choice.ts';

const debian: Machine = {
  localKubeconfig: '/local',
  kindKubeconfig: '/kind',
  usualKubeconfig: '/home/.kube/config',
  canRunLocal: true,
};
const laptop: Machine = { ...debian, canRunLocal: false };

describe('the cluster of the demo', () => {
  it.each([
    ['the local one as root on Debian', {}, debian, 'local', '/local'],
    ['that of kubectl elsewhere', {}, laptop, 'yours', '/home/.kube/config'],
    ['that of KUBECONFIG', { KUBECONFIG: '/mine' }, debian, 'yours', '/mine'],
    ['the local one also when KUBECONFIG leads to it', { KUBECONFIG: '/local' }, debian, 'local', '/local'],
    ['that of kind also when KUBECONFIG leads to it', { KUBECONFIG: '/kind' }, laptop, 'kind', '/kind'],
    ['kind when asked for', { CLUSTER: 'kind', KUBECONFIG: '/mine' }, debian, 'kind', '/kind'],
    ['the local one when asked for', { CLUSTER: 'local', KUBECONFIG: '/mine' }, laptop, 'local', '/local'],
    ['the local one when the settings are empty', { CLUSTER: '', KUBECONFIG: '' }, debian, 'local', '/local'],
  ] as const)('is %s', (_, environment, machine, name, kubeconfig) => {
    expect(choose(environment, machine)).toEqual({ name, kubeconfig });
  });

  it.each([
    ['an unknown CLUSTER', { CLUSTER: 'minikube' }, debian, /CLUSTER=minikube: write "local" or "kind"/],
    ['several files', { KUBECONFIG: '/one:/two' }, debian, /several files: write one/],
    ['nothing at all', {}, { ...laptop, usualKubeconfig: undefined }, /set KUBECONFIG/],
  ] as const)('is refused with %s', (_, environment, machine, message) => {
    expect(() => choose(environment, machine)).toThrow(message);
  });
});
