/** The `Status` object with which the API server explains a refusal. */
export interface StatusBody {
  kind?: string;
  status?: string;
  reason?: string;
  message?: string;
  code?: number;
  details?: { name?: string; uid?: string; kind?: string; retryAfterSeconds?: number; causes?: unknown[] };
}

/** Which request an error belongs to. */
export interface RequestName {
  readonly method: string;
  readonly path: string;
}

/** The API server answered, and the answer is no. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly request: RequestName;
  /** The HTTP status code. */
  readonly status: number;
  /** Kubernetes' machine-readable reason (`NotFound`, `Conflict`, `AlreadyExists`, …); `''` if the answer had none. */
  readonly reason: string;
  readonly details: StatusBody['details'];
  /** How long the server asked to wait before the next try. */
  readonly retryAfterMs: number | undefined;

  constructor(request: RequestName, status: number, body: StatusBody, retryAfterMs?: number) {
    super(
      `${request.method} ${request.path}: ${status} ${body.reason ?? ''}: ${body.message ?? 'no message'}`,
    );
    this.request = request;
    this.status = status;
    this.reason = body.reason ?? '';
    this.details = body.details;
    this.retryAfterMs = retryAfterMs;
  }
}

/**
 * No whole answer came (refused, reset, timed out, aborted, cut off, not JSON). A read with this outcome says nothing about
 * the object; a write may or may not have happened.
 */
export class TransportError extends Error {
  override readonly name = 'TransportError';
  readonly request: RequestName;
  /** True only if the request cannot have reached the server, so that nothing can have changed. */
  readonly unsent: boolean;

  constructor(request: RequestName, message: string, options: { cause?: unknown; unsent?: boolean } = {}) {
    super(`${request.method} ${request.path}: ${message}`, { cause: options.cause });
    this.request = request;
    this.unsent = options.unsent ?? false;
  }
}

/** The named object does not exist: the server said so itself (not a proxy, and not for want of the whole resource type). */
export function isNotFound(error: unknown): error is ApiError {
  return error instanceof ApiError && error.status === 404 && error.reason === 'NotFound';
}

/** Absent is only what the server itself says of this very name: not "no such path", nor another object that is missing. */
export function isAbsence(error: unknown, name: string): error is ApiError {
  return isNotFound(error) && error.details?.name === name;
}

/** The write lost a race: another writer changed the object, or it is no longer the one that the precondition named. */
export function isConflict(error: unknown): error is ApiError {
  return error instanceof ApiError && error.status === 409 && error.reason !== 'AlreadyExists';
}

/** An object of that name is there already. */
export function isAlreadyExists(error: unknown): error is ApiError {
  return error instanceof ApiError && error.status === 409 && error.reason === 'AlreadyExists';
}

/** The caller has no right to do this. */
export function isForbidden(error: unknown): error is ApiError {
  return error instanceof ApiError && error.status === 403;
}

/** The resourceVersion or continue token is too old for the server to go on from. */
export function isExpired(error: unknown): error is ApiError {
  return error instanceof ApiError && error.status === 410;
}
