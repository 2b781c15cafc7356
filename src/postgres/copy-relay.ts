import type { Duplex } from 'node:stream';
import type { Connection as DriverConnection, Submittable } from 'pg';
import { type Connection, typedError } from './connection.ts';
import { UnreachableError } from './postgres-error.ts';

/** A server whose machine is lost says nothing, and TCP goes on sending for a quarter of an hour. */
const longestStallMs = 60_000;

/** Both ends of a COPY from one server into another. */
export interface CopyStatements {
  /** `COPY … TO STDOUT`. */
  readonly from: string;
  /** `COPY … FROM STDIN`, in the same format. */
  readonly to: string;
}

/** What may be done beside. */
export interface RelayOptions {
  /** Told of the bytes that are handed on; no more are read until what it answers is done. */
  readonly pass?: (bytes: number) => Promise<void> | undefined;
  /** Ends the copy. */
  readonly signal?: AbortSignal | undefined;
  /** How long the target may take no bytes; 60,000 ms by default. */
  readonly stallMs?: number;
}

/**
 * Copies rows from one server into another, and answers how many. One sends what the other reads, so that its messages are handed on as
 * they came: taking each of a million rows out of its message makes a copy a tenth slower. Nothing else may be done in the two sessions
 * meanwhile, and after an error (`PostgresError` or `UnreachableError`, or the reason of the signal) both are ended.
 */
export async function relayCopy(
  source: Pick<Connection, 'client'>,
  target: Pick<Connection, 'client'>,
  { from, to }: CopyStatements,
  { pass, signal, stallMs = longestStallMs }: RelayOptions = {},
): Promise<number> {
  const into = new CopyIn(to);
  const out = new CopyOut(from);
  const aborted = Promise.withResolvers<never>();
  const abort = () => aborted.reject(signal?.reason);
  try {
    signal?.throwIfAborted();
    signal?.addEventListener('abort', abort, { once: true });
    target.client.query(into);
    const sink = await Promise.race([into.ready, into.failed, aborted.promise]);
    out.sendTo(sink, pass, stallMs);
    source.client.query(out);
    const sent = await Promise.race([out.done, into.failed, aborted.promise]);
    into.end();
    const taken = await Promise.race([into.done, aborted.promise]);
    if (taken !== sent) throw new Error(`${taken} of ${sent} rows arrived`);
    return taken;
  } catch (error) {
    into.leave(target);
    out.leave(source);
    if (signal?.aborted === true) throw signal.reason;
    throw typedError(error, 'a stream of the copy ended');
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}

/** A COPY as a query of the driver's, which calls what begins with `handle`. */
abstract class CopyQuery implements Submittable {
  readonly #text: string;
  readonly #done = Promise.withResolvers<number>();
  #rows = 0;
  protected stream: Duplex | undefined;
  /** Set by the driver where a session has a time limit: stops the clock. */
  callback: (() => void) | undefined;

  constructor(text: string) {
    this.#text = text;
    // The other end may be waited for when this one fails.
    this.#done.promise.catch(() => undefined);
  }

  /** Rows of the command, when the session is ready for another one. */
  get done(): Promise<number> {
    return this.#done.promise;
  }

  /** Rejected when the command fails, and never resolved. */
  get failed(): Promise<never> {
    return this.done.then(() => new Promise<never>(() => undefined));
  }

  submit(connection: DriverConnection): void {
    this.stream = connection.stream;
    connection.query(this.#text);
  }

  handleCommandComplete({ text }: { readonly text: string }): void {
    this.#rows = Number(/^COPY (\d+)$/.exec(text)?.[1] ?? 0);
  }

  handleReadyForQuery(): void {
    this.callback?.();
    this.#done.resolve(this.#rows);
  }

  handleError(error: Error): void {
    this.callback?.();
    this.#done.reject(error);
  }

  /** Ends the session, whatever it does: a server that sends, or waits for rows, takes no farewell. */
  leave({ client }: Pick<Connection, 'client'>): void {
    this.stream?.destroy();
    client.end().catch(() => undefined);
  }
}

const copyDone = Buffer.from([0x63, 0, 0, 0, 4]);

class CopyIn extends CopyQuery {
  readonly #ready = Promise.withResolvers<Duplex>();

  /** Where messages may be written to, from when the server awaits them. */
  get ready(): Promise<Duplex> {
    return this.#ready.promise;
  }

  handleCopyInResponse({ stream }: DriverConnection): void {
    this.#ready.resolve(stream);
  }

  end(): void {
    this.stream?.write(copyDone);
  }
}

/** CopyData begins with its letter and its length, which counts itself and not the letter. */
const copyData = 0x64;
const headerBytes = 5;

/** Hands rows on, and gives the driver all other messages. */
class CopyOut extends CopyQuery {
  #sink: Duplex | undefined;
  #pass: RelayOptions['pass'];
  #stallMs = longestStallMs;
  #driver: ((bytes: Buffer) => void) | undefined;
  /** What has come of a header. */
  #header: Buffer = Buffer.alloc(0);
  /** Bytes that are still to come of a message, and whether it is a CopyData. */
  #left = 0;
  #isRows = false;
  #holds = 0;

  sendTo(sink: Duplex, pass: RelayOptions['pass'], stallMs: number): void {
    this.#sink = sink;
    this.#pass = pass;
    this.#stallMs = stallMs;
  }

  override submit(connection: DriverConnection): void {
    const { stream } = connection;
    const [driver] = stream.listeners('data') as ((bytes: Buffer) => void)[];
    if (driver === undefined) throw new Error('the driver does not read from its session');
    this.#driver = driver;
    stream.off('data', driver);
    stream.on('data', this.#take);
    super.submit(connection);
  }

  override handleReadyForQuery(): void {
    this.#giveBack();
    super.handleReadyForQuery();
  }

  readonly #take = (chunk: Buffer): void => {
    const bytes = this.#header.length === 0 ? chunk : Buffer.concat([this.#header, chunk]);
    const { length } = bytes;
    let begin = 0;
    let at = Math.min(this.#left, length);
    this.#left -= at;
    while (this.#left === 0 && length - at >= headerBytes) {
      const isRows = bytes[at] === copyData;
      if (isRows !== this.#isRows) {
        this.#handOn(bytes.subarray(begin, at));
        begin = at;
        this.#isRows = isRows;
      }
      const end = at + 1 + bytes.readUInt32BE(at + 1);
      this.#left = Math.max(0, end - length);
      at = Math.min(end, length);
    }
    this.#header = bytes.subarray(at);
    this.#handOn(bytes.subarray(begin, at));
    // The session is the driver's again, and so is the beginning of what comes next.
    if (this.#driver === undefined && this.#header.length > 0) this.stream?.unshift(this.#header);
  };

  #handOn(bytes: Buffer): void {
    const sink = this.#sink;
    if (bytes.length === 0 || sink === undefined) return;
    if (!this.#isRows) {
      this.#driver?.(bytes);
      return;
    }
    // What comes at once goes at once: a write of its own for every read costs more than its bytes.
    if (sink.writableCorked === 0) {
      sink.cork();
      setImmediate(() => sink.uncork());
    }
    if (!sink.write(bytes)) this.#holdUntil(drainOf(sink, this.#stallMs));
    const wait = this.#pass?.(bytes.length);
    if (wait !== undefined) this.#holdUntil(wait);
  }

  /** Reads no more until then. */
  #holdUntil(passed: Promise<void>): void {
    this.#holds += 1;
    this.stream?.pause();
    passed
      .catch((error) => this.handleError(error))
      .then(() => {
        this.#holds -= 1;
        if (this.#holds === 0) this.stream?.resume();
      });
  }

  /** What the server says after the copy is the driver's to read. */
  #giveBack(): void {
    if (this.#driver === undefined) return;
    this.stream?.off('data', this.#take);
    this.stream?.on('data', this.#driver);
    this.#driver = undefined;
  }
}

/** Rejected when nothing of what was written is taken for so long. */
function drainOf(sink: Duplex, stallMs: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const message = `the target of a copy has taken nothing for ${stallMs / 1000} s`;
  const clock = setTimeout(() => reject(new UnreachableError(message)), stallMs);
  sink.once('drain', resolve);
  return promise.finally(() => clearTimeout(clock));
}
