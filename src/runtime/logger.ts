/** What the runtime asks of a logger; pino's satisfies it. */
export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

function discard(): void {}

/** A logger that says nothing, for tests and tools. */
export const silentLogger: Logger = { debug: discard, info: discard, warn: discard, error: discard };
