/** Which cluster the demo runs on, and what leads to it. */
export interface Choice {
  readonly name: 'local' | 'kind' | 'yours';
  readonly kubeconfig: string;
}

/** What a machine has, as far as the choice depends on it. */
export interface Machine {
  readonly localKubeconfig: string;
  readonly kindKubeconfig: string;
  /** The one that kubectl takes when nobody names another, if it is there. */
  readonly usualKubeconfig: string | undefined;
  /** Root on Linux with apt. */
  readonly canRunLocal: boolean;
}

/**
 * `CLUSTER=kind` asks for kind and `CLUSTER=local` for the local cluster; else `KUBECONFIG` tells; else the local cluster where it
 * can run; else the cluster that kubectl uses. Throws what to write where there is none.
 */
export function choose(environment: NodeJS.ProcessEnv, machine: Machine): Choice {
  const { CLUSTER: asked = '', KUBECONFIG: kubeconfig = '' } = environment;
  const local: Choice = { name: 'local', kubeconfig: machine.localKubeconfig };
  const kind: Choice = { name: 'kind', kubeconfig: machine.kindKubeconfig };
  if (asked === 'local') return local;
  if (asked === 'kind') return kind;
  if (asked !== '') {
    throw new Error(`CLUSTER=${asked}: write "local" or "kind", or set KUBECONFIG to a cluster of yours`);
  }
  // The demo itself tells people to export these, and what it made is still its own then.
  if (kubeconfig === machine.localKubeconfig) return local;
  if (kubeconfig === machine.kindKubeconfig) return kind;
  if (kubeconfig.includes(':')) {
    throw new Error(
      `KUBECONFIG=${kubeconfig} names several files: write one (kubectl config view --flatten --minify > FILE)`,
    );
  }
  if (kubeconfig !== '') return { name: 'yours', kubeconfig };
  if (machine.canRunLocal) return local;
  if (machine.usualKubeconfig !== undefined) return { name: 'yours', kubeconfig: machine.usualKubeconfig };
  throw new Error('no cluster: run as root on Debian, or set KUBECONFIG, or CLUSTER=kind where Docker runs');
}
