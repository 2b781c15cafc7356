import { expect, test } from 'vitest';
import { bytesOf, millicoresOf, parseQuantity } from './quantity.ts';

test.each([
  ['1', 1],
  ['1.5', 1.5],
  ['500m', 0.5],
  ['2k', 2000],
  ['1Ki', 1024],
  ['1.5Gi', 1.5 * 1024 ** 3],
  ['3T', 3e12],
])('%s is %d', (text, value) => {
  expect(parseQuantity(text)).toBeCloseTo(value);
});

test('bytes are whole, and CPU is counted in thousandths', () => {
  expect(bytesOf('0.1Ki')).toBe(102);
  expect(millicoresOf('0.3')).toBe(300);
  expect(millicoresOf('2')).toBe(2000);
});

test.each(['', 'Gi', '1 Gi', '1gi', '-1', '1e3', '1Zi'])('"%s" is no quantity', (text) => {
  expect(() => parseQuantity(text)).toThrow(RangeError);
});
