import { isLocalCluster, kubeconfigPath, root } from './cluster.ts';
import { kubectl } from './kubectl.ts';
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

/** Loads archives into the nodes of a cluster. */
type LoadImages = (archives: readonly string[]) => Promise<unknown>;

/**
 * The images for the cluster in use: `$POSTGRES_IMAGE` and `$OPERATOR_IMAGE` where it can pull them; else those of this
 * checkout, built unless they are, and loaded into the nodes by `load`, or pushed to `$REGISTRY` where that is not possible.
 */
export async function ensureImages(onLine?: OnLine, load?: LoadImages): Promise<Images> {
  const {
    POSTGRES_IMAGE: postgres = '',
    OPERATOR_IMAGE: operator = '',
    REGISTRY: registry = '',
  } = process.env;
  if (postgres !== '' && operator !== '') return { postgres, operator, archives: [] };
  const usedLoad = load ?? (isLocalCluster() ? loadIntoLocalCluster : undefined);
  if (usedLoad === undefined) {
    checkImages();
    const pushed = await run(`${root}deploy/images/build`, ['push', registry], { onLine });
    return { ...parseReferences(pushed), archives: [] };
  }
  await run(`${root}deploy/images/build`, ['all'], { onLine });
  const references = await run(`${root}deploy/images/build`, ['refs']);
  const archives = [assigned(references, 'POSTGRES_ARCHIVE'), assigned(references, 'OPERATOR_ARCHIVE')];
  await usedLoad(archives);
  return { ...parseReferences(references), archives };
}

/** Throws what to write when a cluster whose nodes cannot be reached has no way to images. */
export function checkImages(
  { POSTGRES_IMAGE, OPERATOR_IMAGE, REGISTRY }: NodeJS.ProcessEnv = process.env,
): void {
  if (REGISTRY || (POSTGRES_IMAGE && OPERATOR_IMAGE)) return;
  throw new Error(
    'this cluster has to pull the images from somewhere: set REGISTRY=registry.example/herdsman, to which they are pushed ' +
      'when they are built (as root on Debian), or POSTGRES_IMAGE and OPERATOR_IMAGE (see deploy/images/README.md)',
  );
}

async function loadIntoLocalCluster(archives: readonly string[]): Promise<void> {
  await run(`${root}deploy/local/load-image`, archives);
}

function parseReferences(text: string): Pick<Images, 'postgres' | 'operator'> {
  return { postgres: assigned(text, 'POSTGRES_IMAGE'), operator: assigned(text, 'OPERATOR_IMAGE') };
}

/** The value that a line of shell assignments gives to a name. */
function assigned(text: string, name: string): string {
  const found = new RegExp(`\\b${name}=['"]?([^'"\\s]+)`).exec(text)?.[1];
  if (found === undefined) throw new Error(`deploy/images/build prints no ${name}: ${text}`);
  return found;
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
  const words = [
    // CRDs that were applied by hand become the chart's.
    ...['upgrade', 'herdsman', `${root}helm/herdsman`, '--install', '--take-ownership'],
    ...['--namespace', operatorNamespace, '--create-namespace', '--wait', '--timeout', '120s'],
    ...values.flatMap((value) => ['--set-string', value]),
  ];
  const environment = { KUBECONFIG: kubeconfigPath() };
  try {
    await run('helm', words, { environment });
  } catch (error) {
    if (!String(error).includes('another operation')) throw error;
    await forgetInterrupted();
    await run('helm', words, { environment });
  }
}

/** A Helm that was killed leaves its release locked: the record of what it did not end is dropped. */
async function forgetInterrupted(): Promise<void> {
  const states = 'status in (pending-install,pending-upgrade,pending-rollback)';
  await kubectl(['delete', 'secrets', '-n', operatorNamespace, '-l', `owner=helm,name=herdsman,${states}`]);
}

/** Everything that a test on a cluster needs; quick when all is there. */
export async function ensureOperator(onLine?: OnLine): Promise<Images> {
  await ensureCluster(onLine);
  const images = await ensureImages(onLine);
  await installOperator(images);
  return images;
}
