import { readFileSync } from 'node:fs';

// script -qc 'make demo' /tmp/demo.txt; node deploy/demo/picture.ts /tmp/demo.txt > deploy/demo/demo.svg

const size = { character: 8.4, line: 18, left: 20, top: 56, font: 14 };
const ink: Readonly<Record<string, string>> = {
  31: '#ff7b72',
  32: '#3fb950',
  33: '#d29922',
  34: '#58a6ff',
  35: '#bc8cff',
  36: '#39c5cf',
};
const plain = '#c9d1d9';

interface Cell {
  readonly text: string;
  readonly style: string;
}

/** What a terminal shows when it was sent this: the few sequences that the demo uses. */
function render(sent: string): Cell[][] {
  const rows: Cell[][] = [[]];
  let row = 0;
  let column = 0;
  let codes: string[] = [];
  const print = (text: string): void => {
    for (const character of text) {
      if (character === '\r') column = 0;
      else if (character === '\n') {
        row += 1;
        column = 0;
        rows[row] ??= [];
      } else {
        const line = rows[row] ?? [];
        while (line.length < column) line.push({ text: ' ', style: '' });
        line[column] = { text: character, style: codes.join(';') };
        column += 1;
      }
    }
  };
  const [first = '', ...sequences] = sent.split('\u001B[');
  print(first);
  for (const sequence of sequences) {
    const [, numbers = '', kind, text = ''] = /^([0-9;?]*)([A-Za-z])([\s\S]*)$/.exec(sequence) ?? [];
    if (kind === 'm') codes = numbers.split(';').reduce(styled, codes);
    if (kind === 'A') row = Math.max(0, row - Number(numbers || 1));
    if (kind === 'J' || kind === 'K') rows[row]?.splice(column);
    if (kind === 'J') rows.splice(row + 1);
    print(text);
  }
  return rows;
}

/** What each code of the end of a style ends. */
const ends: Readonly<Record<string, RegExp>> = { 22: /^[12]$/, 39: /^3\d$/, 0: /./, '': /./ };

function styled(codes: string[], code: string): string[] {
  const ended = ends[code];
  return ended === undefined ? codes.concat(code) : codes.filter((other) => !ended.test(other));
}

function attributes(style: string): string {
  const codes = style.split(';');
  const fill = codes.map((code) => ink[code]).findLast((found) => found !== undefined) ?? plain;
  const dim = codes.includes('2') ? ' opacity="0.6"' : '';
  const bold = codes.includes('1') ? ' font-weight="bold"' : '';
  return `fill="${fill}"${dim}${bold}`;
}

function draw(rows: readonly (readonly Cell[])[]): string {
  const width = Math.ceil(size.left * 2 + size.character * Math.max(...rows.map((row) => row.length)));
  const height = size.top + size.line * rows.length;
  const runs = rows.flatMap((row, line) =>
    row.flatMap(({ style }, start) => {
      if (start > 0 && row[start - 1]?.style === style) return [];
      const after = row.findIndex((cell, index) => index > start && cell.style !== style);
      const text = row.slice(start, after < 0 ? undefined : after).map((cell) => cell.text);
      const x = (size.left + start * size.character).toFixed(1);
      const length = (text.length * size.character).toFixed(1);
      const place = `x="${x}" y="${size.top + line * size.line}" textLength="${length}"`;
      return text.join('').trim() === ''
        ? []
        : [`<text ${place} ${attributes(style)} xml:space="preserve">${escaped(text.join(''))}</text>`];
    }),
  );
  const font = `ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace`;
  const buttons = ['#ff5f56', '#ffbd2e', '#27c93f'].map(
    (fill, index) => `<circle cx="${20 + index * 20}" cy="18" r="6" fill="${fill}"/>`,
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="${font}" font-size="${size.font}">`,
    '<title>A run of make demo</title>',
    `<rect width="100%" height="100%" rx="8" fill="#0d1117"/>${buttons.join('')}`,
    `<text x="${width / 2 - 40}" y="23" fill="#8b949e">make demo</text>`,
    ...runs,
    '</svg>',
    '',
  ].join('\n');
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

const sent = readFileSync(process.argv[2] ?? '/dev/stdin', 'utf8').replaceAll(
  /^Script (started|done).*$/gm,
  '',
);
const rows = render(sent);
while (rows.length > 0 && (rows[0] ?? []).every(({ text }) => text.trim() === '')) rows.shift();
while (rows.length > 0 && (rows.at(-1) ?? []).every(({ text }) => text.trim() === '')) rows.pop();
process.stdout.write(draw(rows));
