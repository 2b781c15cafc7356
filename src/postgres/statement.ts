/** One SQL statement as data: text, and the values of its `$1`, `$2`, … */
export interface Statement {
  readonly text: string;
  readonly values?: readonly unknown[];
}

/** Makes a statement. */
export function statement(text: string, ...values: readonly unknown[]): Statement {
  return values.length === 0 ? { text } : { text, values };
}
