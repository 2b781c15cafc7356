import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { isLocalCluster, kubeconfigPath, root } from './cluster.ts';

const run = promisify(execFile);

/** Where the operator is installed. */
export const operatorNamespace = 'herdsman-system';

/** The images of this checkout, and the archives that hold them. */
export interface Images {
  readonly postgres: string;
  readonly operator: string;
  readonly archives: readonly string[];
}

/** Programs that the local cluster compiled (kubectl, helm) come before those of the machine. */
export const toolPath = [
  join(process.env.HERDSMAN_CACHE ?? '/var/cache/herdsman', 'bin'),
  process.env.PATH ?? '',
].join(delimiter);

/** Runs a program with the cluster under test as its cluster, and returns what it prints. */
export async function tool(command: string, ...arguments_: readonly string[]): Promise<string> {
  const { stdout } = await run(command, [...arguments_], {
    cwd: root,
    env: { ...process.env, PATH: toolPath, KUBECONFIG: kubeconfigPath() },
    maxBuffer: 64 * 1024 * 1024,
  });
  return stdout;
}

/** Starts the local cluster unless it runs. */
export async function ensureCluster(): Promise<void> {
  if (!isLocalCluster) return;
  await run(join(root, 'deploy/local/cluster'), ['up'], { cwd: root, maxBuffer: 64 * 1024 * 1024 });
}

/** Builds the images of this checkout unless they are built, and loads them into the local cluster's nodes. */
export async function ensureImages(): Promise<Images> {
  await run(join(root, 'deploy/images/build'), ['all'], { cwd: root, maxBuffer: 64 * 1024 * 1024 });
  const { stdout } = await run(join(root, 'deploy/images/build'), ['refs'], { cwd: root });
  const value = (name: string): string => {
    const found = new RegExp(`^(?:export )?${name}=['"]?([^'"\\n]+)`, 'm').exec(stdout)?.[1];
    if (found === undefined) throw new Error(`deploy/images/build refs prints no ${name}: ${stdout}`);
    return found;
  };
  const images = {
    postgres: value('POSTGRES_IMAGE'),
    operator: value('OPERATOR_IMAGE'),
    archives: [value('POSTGRES_ARCHIVE'), value('OPERATOR_ARCHIVE')],
  };
  if (isLocalCluster) await run(join(root, 'deploy/local/load-image'), images.archives, { cwd: root });
  return images;
}

/** Installs the operator with these images by its chart, or changes what is installed to them, and waits until it is ready. */
export async function installOperator(images: Images, ...settings: readonly string[]): Promise<void> {
  const chart = join(root, 'helm/herdsman');
  if (!existsSync(chart)) throw new Error('there is no chart in helm/herdsman');
  const [repository, tag] = splitImage(images.operator);
  await tool(
    'helm',
    ...['upgrade', 'herdsman', chart, '--install', '--namespace', operatorNamespace, '--create-namespace'],
    ...['--wait', '--timeout', '120s'],
    ...['--set', `image.repository=${repository}`, '--set-string', `image.tag=${tag}`],
    ...['--set', `postgresImage=${images.postgres}`],
    ...settings.flatMap((setting) => ['--set', setting]),
  );
}

function splitImage(image: string): [repository: string, tag: string] {
  const colon = image.lastIndexOf(':');
  return [image.slice(0, colon), image.slice(colon + 1)];
}

/** Everything that a test on a cluster needs; quick when all is there. */
export async function ensureOperator(): Promise<Images> {
  await ensureCluster();
  const images = await ensureImages();
  await installOperator(images);
  return images;
}
