/** One change of an order, as a client writes it. */
export interface OrderChange {
  readonly text: string;
  /** Notes in the totals by `customer/id` that the server has acknowledged it. */
  note(totals: Map<string, number>): void;
}

/** The n-th change to the orders of a customer: each order gets a line and another total, and every second one is deleted at last. */
export function orderChange(customer: number, n: number): OrderChange {
  const id = n - (n % 4);
  const key = `${customer}/${id}`;
  const where = `customer_id = ${customer} AND id = ${id}`;
  const texts = [
    `INSERT INTO public.orders (customer_id, id, country, total) VALUES (${customer}, ${id}, 'fr', ${n})`,
    `INSERT INTO public.lines VALUES (${customer}, ${id}, 1, 'line')`,
    `UPDATE public.orders SET total = ${n} WHERE ${where}`,
    n % 8 > 3
      ? `DELETE FROM public.orders WHERE ${where}`
      : `UPDATE public.orders SET total = ${n} WHERE ${where}`,
  ];
  const text = texts[n % 4] ?? '';
  return {
    text,
    note(totals) {
      if (text.startsWith('DELETE')) totals.delete(key);
      else if (n % 4 !== 1) totals.set(key, n);
    },
  };
}

/** How the orders that are there differ from what was acknowledged. */
export function judgeOrders(
  totals: ReadonlyMap<string, number>,
  found: readonly { readonly key: string; readonly total: string }[],
) {
  const there = new Map(found.map(({ key, total }) => [key, Number(total)]));
  return {
    lost: [...totals].filter(([key, total]) => there.get(key) !== total).map(([key]) => key),
    strange: [...there.keys()].filter((key) => !totals.has(key)),
    doubled: found.length - there.size,
  };
}
