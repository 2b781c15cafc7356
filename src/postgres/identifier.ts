/** Quotes a name for SQL, whatever it is made of. */
export function quoteIdentifier(name: string): string {
  if (name.includes('\0')) throw new Error('a name in SQL cannot contain a zero byte');
  return `"${name.replaceAll('"', '""')}"`;
}

/** Quotes a text for SQL; independent of `standard_conforming_strings`. */
export function quoteLiteral(text: string): string {
  if (text.includes('\0')) throw new Error('a text in SQL cannot contain a zero byte');
  const quoted = `'${text.replaceAll("'", "''").replaceAll('\\', '\\\\')}'`;
  return text.includes('\\') ? ` E${quoted}` : quoted;
}

/** Quotes a name with its schema. */
export function qualified(schema: string, name: string): string {
  return `${quoteIdentifier(schema)}.${quoteIdentifier(name)}`;
}
