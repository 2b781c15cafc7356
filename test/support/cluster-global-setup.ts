import { ensureOperator } from './operator.ts';

/** Vitest's global set-up of the tests on a cluster: the cluster runs, has the images, and the operator is installed. */
export async function setup(): Promise<void> {
  await ensureOperator((line) => console.log(`  ${line}`));
}
