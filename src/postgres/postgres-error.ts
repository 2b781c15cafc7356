/** PostgreSQL refused something: its own words, never the statement, which may hold a secret. */
export class PostgresError extends Error {
  readonly sqlstate: string;
  readonly detail: string | undefined;
  readonly hint: string | undefined;
  /** Place of the error in the statement, counted in characters from 1. */
  readonly position: number | undefined;
  /** Place of the error in a statement that a function ran, counted in characters from 1. */
  readonly internalPosition: number | undefined;
  readonly schema: string | undefined;

  constructor(fields: PostgresErrorFields, options?: ErrorOptions) {
    super(fields.message, options);
    this.name = 'PostgresError';
    this.sqlstate = fields.sqlstate;
    this.detail = fields.detail;
    this.hint = fields.hint;
    this.position = fields.position;
    this.internalPosition = fields.internalPosition;
    this.schema = fields.schema;
  }
}

/** What a `PostgresError` is made of. */
export interface PostgresErrorFields {
  readonly message: string;
  readonly sqlstate: string;
  readonly detail?: string | undefined;
  readonly hint?: string | undefined;
  readonly position?: number | undefined;
  readonly internalPosition?: number | undefined;
  readonly schema?: string | undefined;
}

/** No answer, or none to be trusted: what was asked is unknown, and may have been done. */
export class UnreachableError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'UnreachableError';
  }
}

/** SQLSTATE of what the role has no right to. */
export const insufficientPrivilege = '42501';
/** SQLSTATE of a statement that was cancelled, as one that took longer than `statement_timeout`. */
export const queryCanceled = '57014';
/** SQLSTATE of what a full disk has no room for. */
export const diskFull = '53100';

/** SQLSTATEs after which the same transaction may succeed when run again: lock timeout, deadlock, serialization. */
const retryable = new Set(['55P03', '40P01', '40001']);

/** Whether running the same transaction again may succeed. */
export function isRetryable(error: unknown): error is PostgresError {
  return error instanceof PostgresError && retryable.has(error.sqlstate);
}
