import { choosePlatform } from './platform.ts';

try {
  await choosePlatform().stop((line) => console.log(line));
  console.log('the demo is gone');
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
