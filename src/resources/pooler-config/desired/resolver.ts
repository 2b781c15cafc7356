import type { V1Container } from '@kubernetes/client-node';
import { containerSecurity } from '../../sharded-cluster/desired/pod-security.ts';
import { localSocket } from './guard.ts';
import { resolverPort, serversFile, settingsDirectory, socketDirectory } from './settings.ts';

/** There once names are looked up. */
const readyFile = `${socketDirectory}/resolver`;

/**
 * Tells addresses of servers, and of a server that clients are held back for only when it takes logins again, or after as long
 * as they may wait. PgBouncer keeps its clients waiting while a name is looked up; a connection that is refused instead would
 * make it turn away whoever asks.
 *
 * A login that the loss itself cuts off does so all the same (check_fast_fail), but not while the database is paused. PgBouncer
 * tells nobody of it, but tries again within a tenth of a second: so clients are paused when a server is found away before it was
 * seen to let PgBouncer in. Not otherwise: a pause ends a login itself, and who asks just after it is turned away. When they have
 * waited as long as they may, those who wait are told off like those who ask from then on.
 */
export const resolverScript = `
import math, socket, struct, subprocess, sys, threading, time

SERVERS, READY, PORT, CONSOLE = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
FAMILIES = {1: socket.AF_INET, 28: socket.AF_INET6}
listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
listener.bind(('127.0.0.1', PORT))
lock = threading.Lock()
waiting = {}
away, overdue = {}, set()
limit = threading.Lock()
limits = []
told, welcomed, followed = {}, {}, set()

def name_and_type(query):
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode())
        at += 1 + query[at]
    return '.'.join(labels), struct.unpack_from('>H', query, at + 1)[0], at + 5

def addresses(name, family):
    try:
        found = socket.getaddrinfo(name, None, family, socket.SOCK_STREAM)
    except OSError:
        return []
    return list(dict.fromkeys(entry[4][0] for entry in found))

def servers():
    with open(SERVERS) as lines:
        for host, port, seconds, query_wait, databases in map(str.split, lines):
            yield host, (port, float(seconds), query_wait, databases.split(','))

def messages(session):
    kind = b''
    while kind != b'Z':
        head = session.recv(5, socket.MSG_WAITALL)
        kind, length = head[:1], struct.unpack('>I', head[1:])[0]
        yield kind, session.recv(length - 4, socket.MSG_WAITALL)

def fields(row):
    at, found = 2, []
    while at < len(row):
        length = struct.unpack_from('>i', row, at)[0]
        found.append(row[at + 4:at + 4 + max(length, 0)].decode())
        at += 4 + max(length, 0)
    return found

def columns(description):
    at, found = 2, []
    while at < len(description):
        end = description.index(0, at)
        found.append(description[at:end].decode())
        at = end + 19
    return found

def ask(text):
    for patience in (0.2, 1, 5):
        sent, names, rows = False, [], []
        try:
            with socket.socket(socket.AF_UNIX) as session:
                session.settimeout(patience)
                session.connect(CONSOLE)
                words = b'user\\0pgbouncer\\0database\\0pgbouncer\\0\\0'
                session.sendall(struct.pack('>II', 8 + len(words), 196608) + words)
                list(messages(session))
                session.sendall(struct.pack('>cI', b'Q', 5 + len(text)) + text.encode() + b'\\0')
                # It holds whether its end is waited for or not.
                sent = True
                for kind, body in messages(session):
                    if kind == b'T':
                        names = columns(body)
                    elif kind == b'D':
                        rows.append(dict(zip(names, fields(body))))
        except (OSError, ValueError, struct.error):
            pass
        if sent:
            return rows
    return []

def dial(address, port):
    try:
        # Of a Service without endpoints a client hears now and then nothing, and would ask again after a second.
        return socket.create_connection((address, int(port)), 0.5)
    except OSError:
        return None

def listens(address, port):
    session = dial(address, port)
    if session:
        session.close()
    return session is not None

def welcome(name, session):
    session.setblocking(False)
    threading.Timer(0.2, session.close).start()
    welcomed[name] = session

def is_welcome(name):
    # A server that is lost, or begins anew after a crash, ends this session with all others.
    try:
        welcomed[name].recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except (KeyError, OSError):
        pass
    return False

def takes_logins(address, port):
    words = ['pg_isready', '-q', '-t', '1', '-h', address, '-p', port, '-U', 'nobody', '-d', 'postgres']
    try:
        return subprocess.run(words).returncode == 0
    except OSError:
        return False

def serves(name, address, port):
    # While another server takes over, the Service may lead to both of them, by chance.
    if name in away and not all(listens(address, port) for _ in range(9)):
        return False
    session = dial(address, port)
    if session is None:
        return False
    # A pool that grows asks many times a second.
    if name not in away and is_welcome(name):
        session.close()
        return True
    if not takes_logins(address, port):
        session.close()
        return False
    welcome(name, session)
    return True

def may_log_in(name):
    # For as long as a login takes on a machine that is short of time.
    return time.monotonic() < told.get(name, -math.inf) + 5

def is_logged_in(databases):
    pools = [pool for pool in ask('SHOW POOLS') if pool.get('database') in databases]
    servers = sum(int(pool[state]) for pool in pools for state in ('sv_active', 'sv_idle', 'sv_used', 'sv_tested'))
    return servers > 0 and not any(int(pool['sv_login']) for pool in pools)

def follow(name, databases):
    try:
        while may_log_in(name):
            began = told[name]
            time.sleep(0.05)
            if is_logged_in(databases):
                with lock:
                    if told[name] == began:
                        del told[name]
    finally:
        followed.discard(name)

def hold(name, address, port, seconds, query_wait, databases):
    paused = []
    try:
        while not serves(name, address, port):
            now = time.monotonic()
            if name not in away:
                away[name] = now
                paused = databases if may_log_in(name) else []
                for database in paused:
                    ask(f'PAUSE {database}')
            elif now > away[name] + seconds:
                if name not in overdue and not 0 < float(query_wait) <= seconds:
                    overdue.add(name)
                    limit_waits(seconds, query_wait)
                return
            time.sleep(0.05)
        since = away.pop(name, None)
        overdue.discard(name)
        if since is not None:
            print(f'{name} takes logins again, after {time.monotonic() - since:.2f} s', flush=True)
    finally:
        for database in paused:
            ask(f'RESUME {database}')

def limit_waits(seconds, query_wait):
    # For clients of all databases, so only until those are told off who have waited as long: who asks later is turned away.
    with limit:
        limits.append(seconds)
        ask(f'SET query_wait_timeout = {seconds:g}')
    threading.Thread(target=lift_limit, args=(seconds, query_wait), daemon=True).start()

def lift_limit(seconds, query_wait):
    time.sleep(seconds + 1)
    with limit:
        limits.remove(seconds)
        if not limits:
            ask(f'SET query_wait_timeout = {query_wait}')

def reply(query, end, kind, found, to):
    family = FAMILIES.get(kind)
    records = [
        struct.pack('>HHHIH', 0xC00C, kind, 1, 0, len(data)) + data
        for data in (socket.inet_pton(family, address) for address in found)
    ]
    header = query[:2] + struct.pack('>HHHHH', 0x8180, 1, len(records), 0, 0)
    listener.sendto(header + query[12:end] + b''.join(records), to)

def look_up(name, kind):
    found = addresses(name, FAMILIES[kind]) if kind in FAMILIES else []
    try:
        wanted = dict(servers()).get(name) if found else None
        if wanted is not None:
            hold(name, found[0], *wanted)
            with lock:
                told[name] = time.monotonic()
                is_followed = name in followed
                followed.add(name)
            if not is_followed:
                threading.Thread(target=follow, args=(name, wanted[3]), daemon=True).start()
    finally:
        with lock:
            asking = waiting.pop((name, kind))
        for query, end, to in asking:
            reply(query, end, kind, found, to)

def main():
    open(READY, 'w').close()
    # One that ended before this one may have left the limit as it was.
    for _, (_, _, query_wait, _) in list(servers())[:1]:
        ask(f'SET query_wait_timeout = {query_wait}')
    while True:
        query, to = listener.recvfrom(4096)
        try:
            name, kind, end = name_and_type(query)
        except (IndexError, UnicodeDecodeError, struct.error):
            continue
        with lock:
            asking = waiting.setdefault((name, kind), [])
            asking.append((query, end, to))
        if len(asking) == 1:
            threading.Thread(target=look_up, args=(name, kind), daemon=True).start()

main()
`;

/** The command that runs it. */
export const resolverCommand: readonly string[] = [
  'python3',
  '-c',
  resolverScript,
  `${settingsDirectory}/${serversFile}`,
  readyFile,
  `${resolverPort}`,
  localSocket,
];

/** The container that runs it, before PgBouncer and as long. */
export function resolver(image: string): V1Container {
  return {
    name: 'resolver',
    image,
    imagePullPolicy: 'IfNotPresent',
    restartPolicy: 'Always',
    args: [...resolverCommand],
    lifecycle: {
      postStart: { exec: { command: ['sh', '-c', `until [ -e ${readyFile} ]; do sleep 0.05; done`] } },
    },
    resources: { requests: { cpu: '5m', memory: '16Mi' }, limits: { memory: '64Mi' } },
    securityContext: containerSecurity,
    volumeMounts: [
      { name: 'settings', mountPath: settingsDirectory, readOnly: true },
      { name: 'run', mountPath: socketDirectory },
    ],
  };
}
