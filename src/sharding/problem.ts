/** Something wrong with what was asked for or found, as data: the message says what to write or do instead. */
export interface Problem {
  readonly code: string;
  readonly message: string;
}
