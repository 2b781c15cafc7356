import { isLocalCluster, kubeconfigPath, root } from './cluster.ts';
import { type ProgramOptions, run } from './program.ts';

/** Where the operator is installed. */
export const operatorNamespace = 'herdsman-system';

/** The images of this checkout, and the archives that hold them; no archives where they come from a registry. */
export interface Images {
  readonly postgres: string;
  readonly operator: string;
  readonly archives: readonly string[];
}

/** Gets each line that a long command prints. */
type OnLine = ProgramOptions['onLine'];

/** Starts the local cluster unless it runs; another cluster is taken as it is. */
export async function ensureCluster(onLine?: OnLine): Promise<void> {
  if (isLocalCluster()) await run(`${root}deploy/local/cluster`, ['up'], { onLine });
}

/**
 * The images for the cluster in use: `$POSTGRES_IMAGE` and `$OPERATOR_IMAGE` where it can pull them, else those of this
 * checkout, built unless they are, and loaded into the nodes by `load`.
 */
export async function ensureImages(
  onLine?: OnLine,
  load: (archives: readonly string[]) => Promise<unknown> = loadIntoLocalCluster,
): Promise<Images> {
  const { POSTGRES_IMAGE: postgres, OPERATOR_IMAGE: operator } = process.env;
  if (postgres !== undefined && operator !== undefined) return { postgres, operator, archives: [] };
  await run(`${root}deploy/images/build`, ['all'], { onLine });
  const images = parseReferences(await run(`${root}deploy/images/build`, ['refs']));
  await load(images.archives);
  return images;
}

async function loadIntoLocalCluster(archives: readonly string[]): Promise<void> {
  if (!isLocalCluster()) {
    throw new Error(
      'this cluster cannot be given images from here: push them to a registry and set POSTGRES_IMAGE and OPERATOR_IMAGE',
    );
  }
  await run(`${root}deploy/local/load-image`, archives);
}

function parseReferences(text: string): Images {
  const value = (name: string): string => {
    const found = new RegExp(`\\b${name}=['"]?([^'"\\s]+)`).exec(text)?.[1];
    if (found === undefined) throw new Error(`deploy/images/build refs prints no ${name}: ${text}`);
    return found;
  };
  return {
    postgres: value('POSTGRES_IMAGE'),
    operator: value('OPERATOR_IMAGE'),
    archives: [value('POSTGRES_ARCHIVE'), value('OPERATOR_ARCHIVE')],
  };
}

/** Installs the operator with these images by its chart, or changes what is installed to them, and waits until it is ready. */
export async function installOperator(images: Images, ...settings: readonly string[]): Promise<void> {
  const colon = images.operator.lastIndexOf(':');
  const values = [
    `image.repository=${images.operator.slice(0, colon)}`,
    `image.tag=${images.operator.slice(colon + 1)}`,
    `postgresImage=${images.postgres}`,
    ...settings,
  ];
  await run(
    'helm',
    [
      // CRDs that were applied by hand become the chart's.
      ...['upgrade', 'herdsman', `${root}helm/herdsman`, '--install', '--take-ownership'],
      ...['--namespace', operatorNamespace, '--create-namespace', '--wait', '--timeout', '120s'],
      ...values.flatMap((value) => ['--set-string', value]),
    ],
    { environment: { KUBECONFIG: kubeconfigPath() } },
  );
}

/** Everything that a test on a cluster needs; quick when all is there. */
export async function ensureOperator(): Promise<Images> {
  await ensureCluster();
  const images = await ensureImages();
  await installOperator(images);
  return images;
}
