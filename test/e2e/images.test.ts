import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { root } from '../support/cluster.ts';
import { kubectl } from '../support/kubectl.ts';
import { ensureImages, type Images, operatorNamespace } from '../support/operator.ts';
import { run } from '../support/program.ts';

interface ImageConfig {
  readonly config: { readonly User?: string; readonly Entrypoint?: readonly string[] };
  readonly rootfs: { readonly diff_ids: readonly string[] };
}

let images: Images;
/** The file system of the PostgreSQL image. */
let rootfs: string;

beforeAll(async () => {
  images = await ensureImages();
  rootfs = (await run('deploy/images/build', ['rootfs'])).trim();
});

/** The configuration that a docker-archive has of its image. */
async function configOf(archive = ''): Promise<ImageConfig> {
  const [manifest] = JSON.parse(await run('tar', ['-xOf', archive, 'manifest.json'])) as { Config: string }[];
  return JSON.parse(await run('tar', ['-xOf', archive, manifest?.Config ?? ''])) as ImageConfig;
}

const lines = (text: string): string[] =>
  text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));

describe('the PostgreSQL image', () => {
  it('runs as an ordinary user, under an init process, in few layers', async () => {
    const { config, rootfs: layers } = await configOf(images.archives[0]);
    expect(config.User).toBe('100:102');
    expect(config.Entrypoint?.[0]).toBe('/usr/bin/tini');
    expect(layers.diff_ids.length).toBeLessThanOrEqual(8);
  });

  it('has the versions that are pinned', () => {
    const installed = new Map(
      lines(readFileSync(join(rootfs, 'usr/share/herdsman/packages'), 'utf8')).map((line) => {
        const [name = '', version = ''] = line.split(' ');
        return [name, version] as const;
      }),
    );
    const pinned = lines(readFileSync(`${root}deploy/images/postgres/packages`, 'utf8'));
    expect(pinned.length).toBeGreaterThan(10);
    for (const line of pinned) {
      const [name = '', pattern = ''] = line.split(/\s+/);
      const start = pattern.replace(/\*$/, '');
      expect(pattern, name).toMatch(/\*$/);
      expect(installed.get(name)?.startsWith(start), `${name} ${installed.get(name)}, not ${pattern}`).toBe(
        true,
      );
    }
  });

  it('has a Patroni whose cycle decides on what it saw itself, whoever asks for the cluster meanwhile', async () => {
    const script = `
import threading
from importlib.machinery import SourceFileLoader
SourceFileLoader('launcher', '/usr/local/bin/patroni').load_module()
from patroni.dcs.kubernetes import Kubernetes
dcs = object.__new__(Kubernetes)
seen = []
def ask(name):
    seen.append(getattr(dcs, name))
    setattr(dcs, name, 'new')
    seen.append(getattr(dcs, name))
for name in ('_leader_resource_version', '_leader_observed_record', '_leader_observed_time'):
    setattr(dcs, name, 'old')
    asking = threading.Thread(target=ask, args=(name,))
    asking.start()
    asking.join()
    seen.append(getattr(dcs, name))
print(*seen)`;
    const seen = await run('chroot', [rootfs, 'python3', '-B', '-W', 'ignore', '-c', script]);
    expect(seen.trim().split(' ')).toEqual(Array(3).fill(['old', 'new', 'old']).flat());
  });

  it("takes Debian's security fixes", () => {
    expect(readFileSync(join(rootfs, 'etc/apt/sources.list'), 'utf8')).toMatch(
      /-security trixie-security main/,
    );
  });

  it('has nothing that raises privileges, and no private key', async () => {
    const find = (...words: readonly string[]): Promise<string> => run('find', [rootfs, '-xdev', ...words]);
    expect(await find('-type', 'f', '-perm', '/6000')).toBe('');
    expect(await find('-path', '*/etc/ssl/private/*')).toBe('');
  });
});

describe('the operator image', () => {
  it('runs as an ordinary user, on Node 24, without a shell', async () => {
    const { config } = await configOf(images.archives[1]);
    expect(config.User).toBe('65532:65532');
    const inside = (...words: readonly string[]): Promise<string> =>
      kubectl(['exec', '-n', operatorNamespace, 'deployment/herdsman', '--', ...words]);
    expect(await inside('node', '--version')).toMatch(/^v24\./);
    await expect(inside('sh', '-c', 'true')).rejects.toThrow(/sh/);
  });
});
