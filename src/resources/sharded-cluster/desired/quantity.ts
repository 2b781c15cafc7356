const factors: Readonly<Record<string, number>> = {
  '': 1,
  m: 1 / 1000,
  k: 1000,
  M: 1000 ** 2,
  G: 1000 ** 3,
  T: 1000 ** 4,
  P: 1000 ** 5,
  Ki: 1024,
  Mi: 1024 ** 2,
  Gi: 1024 ** 3,
  Ti: 1024 ** 4,
  Pi: 1024 ** 5,
};

/** Value of a Kubernetes quantity such as `500m`, `2Gi` or `1`; throws a RangeError for anything else. */
export function parseQuantity(text: string): number {
  const match = /^([0-9]+(?:\.[0-9]+)?)([A-Za-z]{0,2})$/.exec(text);
  const factor = match === null ? undefined : factors[match[2] ?? ''];
  if (match === null || factor === undefined) throw new RangeError(`"${text}" is not a Kubernetes quantity`);
  return Number(match[1]) * factor;
}

/** Whole bytes of a quantity of memory or storage. */
export function bytesOf(text: string): number {
  return Math.floor(parseQuantity(text));
}

/** Thousandths of a processor of a quantity of CPU. */
export function millicoresOf(text: string): number {
  return Math.round(parseQuantity(text) * 1000);
}
