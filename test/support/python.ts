import { execFileSync } from 'node:child_process';

/** Installs pip where it is missing: Debian's Python comes without it. */
export function ensurePip(): void {
  try {
    execFileSync('python3', ['-m', 'pip', '--version'], { stdio: 'ignore' });
  } catch {
    const install = [
      '-o',
      'DPkg::Lock::Timeout=600',
      'install',
      '-qy',
      '--no-install-recommends',
      'python3-pip',
    ];
    execFileSync('apt-get', install, {
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
  }
}
