/**
 * Cuts a byte stream into lines. Bytes of an unfinished line are kept as a list and joined once, so that a line of many
 * chunks costs no more than its length. Throws when the stream ends within a line.
 */
export async function* splitLines(stream: AsyncIterable<Buffer>): AsyncGenerator<string, void, undefined> {
  let pending: Buffer[] = [];
  for await (const chunk of stream) {
    let start = 0;
    for (let end = chunk.indexOf(10, start); end >= 0; end = chunk.indexOf(10, start)) {
      pending.push(chunk.subarray(start, end));
      const line = (pending.length === 1 ? pending[0] : Buffer.concat(pending))?.toString('utf8') ?? '';
      pending = [];
      start = end + 1;
      if (line.trim() !== '') yield line;
    }
    if (start < chunk.length) pending.push(chunk.subarray(start));
  }
  if (pending.length > 0) throw new Error('the stream ended within a line');
}
