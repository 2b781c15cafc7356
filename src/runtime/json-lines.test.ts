import fc from 'fast-check';
import { expect, test } from 'vitest';
import { splitLines } from './json-lines.ts';

async function* chunksOf(bytes: Buffer, sizes: readonly number[]): AsyncGenerator<Buffer> {
  let offset = 0;
  for (const size of sizes) {
    if (offset >= bytes.length) break;
    yield bytes.subarray(offset, offset + size);
    offset += size;
  }
  if (offset < bytes.length) yield bytes.subarray(offset);
}

async function collect(lines: AsyncIterable<string>): Promise<string[]> {
  const collected: string[] = [];
  for await (const line of lines) collected.push(line);
  return collected;
}

test('law: lines come out as they went in, however the bytes were cut, also within a character', async () => {
  const line = fc
    .string({ unit: 'binary', minLength: 1 })
    .filter((text) => text.trim() !== '' && !text.includes('\n'));
  await fc.assert(
    fc.asyncProperty(fc.array(line), fc.array(fc.integer({ min: 1, max: 7 })), async (lines, sizes) => {
      const whole = lines.filter((text) => text.isWellFormed());
      const bytes = Buffer.from(whole.map((text) => `${text}\n`).join(''), 'utf8');
      expect(await collect(splitLines(chunksOf(bytes, sizes)))).toEqual(whole);
    }),
  );
});

test('a stream that ends within a line is an error, after the whole lines', async () => {
  const lines: string[] = [];
  const reading = (async () => {
    for await (const line of splitLines(chunksOf(Buffer.from('one\ntw'), []))) lines.push(line);
  })();
  await expect(reading).rejects.toThrow('ended within a line');
  expect(lines).toEqual(['one']);
});

test('empty lines are skipped', async () => {
  expect(await collect(splitLines(chunksOf(Buffer.from('\n \none\n\n'), [])))).toEqual(['one']);
});
