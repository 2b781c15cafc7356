import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type pg from 'pg';
import { cacheFolder, run } from './program.ts';
import { ensurePip } from './python.ts';

/** Its binary package brings a libpq of its own, new enough to take prepared statements away again through a pooler. */
const release = '3.2.13';

/** Installs psycopg from PyPI for this machine's Python, once, apart from what else that has; answers its directory. */
async function ensurePsycopg(): Promise<string> {
  const python = (
    await run('python3', ['-c', 'import sys; print("%d.%d" % sys.version_info[:2])']).catch((error) => {
      throw new Error('the tests of psycopg need python3 with pip: install both', { cause: error });
    })
  ).trim();
  const parent = join(cacheFolder, 'python');
  const directory = join(parent, `psycopg-${release}-${python}`);
  if (existsSync(directory)) return directory;
  ensurePip();
  await mkdir(parent, { recursive: true });
  const making = await mkdtemp(`${directory}.`);
  const quiet = [
    '--quiet',
    '--disable-pip-version-check',
    '--root-user-action=ignore',
    '--only-binary=:all:',
  ];
  await run('python3', ['-m', 'pip', 'install', ...quiet, '--target', making, `psycopg[binary]==${release}`]);
  // Whoever is first makes everybody's.
  await rename(making, directory).catch(() => rm(making, { recursive: true }));
  return directory;
}

const program = `
import concurrent.futures, json, sys
import psycopg

given = json.load(sys.stdin)
assert psycopg.pq.version() >= 170000, psycopg.pq.version()

def work(client):
    """Statements that are prepared when they are first used, more of them than are kept."""
    servers = set()
    with psycopg.connect(given["conninfo"], prepare_threshold=0, autocommit=True) as connection:
        connection.prepared_max = 20
        for turn in range(given["turns"]):
            kind = turn % 40
            row = connection.execute(
                f"SELECT pg_backend_pid(), %s::int + {kind}, pg_sleep(0.001)", (client,)
            ).fetchone()
            assert row[1] == client + kind, row
            servers.add(row[0])
            if turn % 10 == 0:
                with connection.transaction():
                    again = connection.execute("SELECT pg_backend_pid(), %s::text", (str(turn),)).fetchone()
                    assert again[1] == str(turn)
    return servers

clients = range(given["clients"])
with concurrent.futures.ThreadPoolExecutor(len(clients)) as pool:
    servers = set().union(*pool.map(work, clients))
print(json.dumps({"servers": len(servers)}))
`;

/**
 * Runs clients of psycopg that prepare every statement on the server, and drop those that are too many; throws what went
 * wrong. Answers on how many server connections their statements ran.
 */
export async function runPsycopg(
  config: pg.ClientConfig,
  load: { readonly clients: number; readonly turns: number },
): Promise<{ readonly servers: number }> {
  const directory = await ensurePsycopg();
  const words = {
    host: config.host,
    port: config.port,
    user: config.user,
    password: config.password,
    dbname: config.database,
    sslmode: 'require',
  };
  const conninfo = Object.entries(words)
    .map(([name, value]) => `${name}='${String(value).replaceAll(/['\\]/g, '\\$&')}'`)
    .join(' ');
  const input = JSON.stringify({ conninfo, ...load });
  const printed = await run('python3', ['-c', program], { environment: { PYTHONPATH: directory }, input });
  return JSON.parse(printed) as { servers: number };
}
