import { styleText } from 'node:util';

const isTerminal = process.stdout.isTTY === true && process.env.NO_COLOR === undefined;
const started = performance.now();

/** A style that the terminal shows, and that a file does not get. */
export function paint(style: Parameters<typeof styleText>[0], text: string): string {
  return isTerminal ? styleText(style, text, { validateStream: false }) : text;
}

/** Milliseconds as a person reads them: `412 ms`, `9.3 s`, `4 min 07 s`. */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)} min ${String(seconds % 60).padStart(2, '0')} s`;
}

/** Time since the program began. */
export function elapsed(): string {
  return duration(performance.now() - started);
}

/** Writes one line. */
export function say(text = ''): void {
  process.stdout.write(`${text}\n`);
}

/** What a step can tell while it runs, with a picture below it; rewritten on a terminal, and told now and then elsewhere. */
export type Progress = (text: string, picture?: readonly string[]) => void;

/** Back to the beginning of the line, and nothing from there on. */
const clear = '\r\u001B[J';
/** How often a step that takes long tells a file or a pipe that it goes on. */
const tellMs = 20_000;

/** Runs one numbered step, showing what it does, how long it takes and what came of it. */
export async function step(
  place: string,
  title: string,
  work: (progress: Progress) => Promise<string>,
): Promise<void> {
  const begun = performance.now();
  let detail = '';
  let picture: readonly string[] = [];
  const head = `${paint('dim', place)} ${paint('bold', title)}`;
  const draw = (): void => {
    const time = duration(performance.now() - begun);
    const room = (process.stdout.columns ?? 100) - place.length - title.length - time.length - 6;
    const below = picture.map((line) => `\n        ${line}`).join('');
    const back = picture.length === 0 ? '' : `\u001B[${picture.length}A`;
    process.stdout.write(
      `${clear}${head}  ${paint('dim', `${time}  ${detail.slice(0, Math.max(0, room))}`)}${below}${back}`,
    );
  };
  const tell = (): void => say(`        ${duration(performance.now() - begun)}  ${detail}`.trimEnd());
  if (!isTerminal) say(`${place} ${title} …`);
  const timer = isTerminal ? setInterval(draw, 100) : setInterval(tell, tellMs);
  try {
    const outcome = await work((text, lines = []) => {
      detail = text;
      picture = lines;
    });
    const took = duration(performance.now() - begun);
    if (isTerminal) process.stdout.write(clear);
    say(`${paint('green', '✔')} ${head}  ${paint('dim', took)}`);
    for (const line of outcome.split('\n')) if (line !== '') say(`        ${line}`);
  } catch (error) {
    if (isTerminal) process.stdout.write(clear);
    say(`${paint('red', '✘')} ${head}  ${paint('dim', duration(performance.now() - begun))}`);
    throw error;
  } finally {
    clearInterval(timer);
  }
}

/** Rows of equal width, the first column to the left and numbers to the right. */
export function table(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, column) => {
        const width = widths[column] ?? 0;
        return /^[\d.,]+( ms| s)?$/.test(cell) ? cell.padStart(width) : cell.padEnd(width);
      })
      .join('   ')
      .trimEnd(),
  );
}
