// Adds one layer to an image and writes the result as an archive: archive.ts LAYOUT LAYER NAME ARCHIVE
//
// LAYOUT is the image below as an OCI layout, LAYER a tar, NAME the new image's name. The archive can be read as an
// OCI layout (containerd then skips the layers that it has) and as a Docker archive (`docker load`). Nothing below
// the layer is read again, which is why this takes a moment where a general image builder takes many seconds.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { linkSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

interface Manifest {
  config: Descriptor;
  readonly layers: Descriptor[];
  annotations?: Record<string, string>;
}

interface ImageConfig {
  readonly created: string;
  readonly rootfs: { readonly diff_ids: string[] };
  readonly history: { readonly created: string; readonly created_by: string }[];
}

const [layout = '', layer = '', name = '', archive = ''] = process.argv.slice(2);
if (archive === '') throw new Error('archive.ts LAYOUT LAYER NAME ARCHIVE');
const work = mkdtempSync(`${archive}.`);
const pathOf = (digest: string) => join('blobs', ...digest.split(':'));
const readJson = (path: string) => JSON.parse(readFileSync(join(layout, path), 'utf8'));

function addBlob(content: Buffer, mediaType: string): Descriptor {
  const digest = `sha256:${createHash('sha256').update(content).digest('hex')}`;
  writeFileSync(join(work, pathOf(digest)), content);
  return { mediaType, digest, size: content.length };
}

try {
  mkdirSync(join(work, 'blobs/sha256'), { recursive: true });
  const index: { manifests: Descriptor[] } = readJson('index.json');
  const [below] = index.manifests;
  if (below === undefined) throw new Error(`no image in ${layout}`);
  const manifest: Manifest = readJson(pathOf(below.digest));
  const config: ImageConfig = readJson(pathOf(manifest.config.digest));
  for (const { digest } of manifest.layers)
    linkSync(join(layout, pathOf(digest)), join(work, pathOf(digest)));

  const added = addBlob(readFileSync(layer), 'application/vnd.oci.image.layer.v1.tar');
  manifest.layers.push(added);
  delete manifest.annotations;
  config.rootfs.diff_ids.push(added.digest);
  config.history.push({ created: config.created, created_by: 'COPY package.json dist /app' });
  manifest.config = addBlob(Buffer.from(JSON.stringify(config)), manifest.config.mediaType);
  const top = addBlob(Buffer.from(JSON.stringify(manifest)), below.mediaType);

  const annotations = {
    'io.containerd.image.name': name,
    'org.opencontainers.image.ref.name': name.replace(/.*:/, ''),
  };
  const files = {
    'oci-layout': { imageLayoutVersion: '1.0.0' },
    'index.json': { schemaVersion: 2, manifests: [{ ...top, annotations }] },
    'manifest.json': [
      {
        Config: pathOf(manifest.config.digest),
        RepoTags: [name],
        Layers: manifest.layers.map(({ digest }) => pathOf(digest)),
      },
    ],
  };
  for (const [file, content] of Object.entries(files))
    writeFileSync(join(work, file), JSON.stringify(content));
  // The small files first: whoever only asks what is in the archive need not read through its layers.
  execFileSync('tar', ['-cf', archive, '-C', work, ...Object.keys(files), 'blobs']);
} finally {
  rmSync(work, { recursive: true });
}
