import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const library = join(import.meta.dirname, 'packages.bash');
let folder: string;
let policy: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'policy-'));
  policy = join(folder, 'policy-rc.d');
});
afterEach(() => rmSync(folder, { recursive: true }));

/** What stands in the policy while packages are installed. */
function during(): string {
  const script = 'source "$1"; POLICY=$2; without_services cat "$POLICY"';
  return execFileSync('bash', ['-euc', script, '-', library, policy], { encoding: 'utf8' });
}

describe('the policy that keeps services from starting', () => {
  it('is there while packages are installed, and gone after it', () => {
    expect(during()).toContain('exit 101');
    expect(existsSync(policy)).toBe(false);
  });

  it('of a run that was killed is taken away by the next', () => {
    writeFileSync(policy, during());
    expect(during()).toContain('exit 101');
    expect(existsSync(policy)).toBe(false);
  });

  it('stays if it is the user’s', () => {
    const own = '#!/bin/sh\nexit 101\n';
    writeFileSync(policy, own);
    expect(during()).toBe(own);
    expect(readFileSync(policy, 'utf8')).toBe(own);
  });
});
