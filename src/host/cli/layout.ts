/** Laying out text in the columns of a terminal. All text given here is inert already. */

const WIDE = /\p{Emoji_Presentation}|[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|[\u{20000}-\u{3fffd}]/u;

/** Columns that a text takes: 2 for East Asian wide characters and emoji (UAX #11), 0 for combining marks. */
export function columnsOf(text: string): number {
  let columns = 0;
  for (const character of text) columns += /\p{Mn}/u.test(character) ? 0 : WIDE.test(character) ? 2 : 1;
  return columns;
}

/** The text, cut to at most `columns` with an ellipsis in place of the rest. */
export function cut(text: string, columns: number): string {
  if (columnsOf(text) <= columns) return text;
  let kept = '';
  for (const character of text) {
    if (columnsOf(kept + character) > columns - 1) break;
    kept += character;
  }
  return `${kept}…`;
}

const pad = (text: string, columns: number) => text + ' '.repeat(Math.max(0, columns - columnsOf(text)));

/** Rows under a header; the last column takes what is left of `width` and is cut there, the others are as wide as they need. */
export function table(header: readonly string[], rows: readonly (readonly string[])[], width: number): string {
  const all = [header, ...rows];
  const widths = header.map((_, column) => Math.max(...all.map((row) => columnsOf(row[column] ?? ''))));
  const before = widths.slice(0, -1).reduce((sum, each) => sum + each + 2, 0);
  const last = header.length - 1;
  return all
    .map((row) => row.map((cell, column) => (column === last ? cut(cell, Math.max(10, width - before)) : pad(cell, widths[column] ?? 0))).join('  ').trimEnd())
    .join('\n');
}

/** Label and value per line, values in one column; long values go on below themselves. */
export function labelled(pairs: readonly (readonly [label: string, value: string])[], width: number): string {
  const indent = 4 + Math.max(...pairs.map(([label]) => columnsOf(label)));
  return pairs.map(([label, value]) => `  ${pad(label, indent - 2)}${wrap(value, width, indent)}`).join('\n');
}

/** Breaks text between words so that no line is over `width`; lines after the first begin with `indent` spaces. A long word stays whole. */
export function wrap(text: string, width: number, indent: number): string {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && indent + columnsOf(line) + 1 + columnsOf(word) > width) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line].join(`\n${' '.repeat(indent)}`);
}

/** A number of bytes in decimal units (SI): `1.2 MB`. */
export function bytesText(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  const unit = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(1, bytes)) / 3)));
  const value = bytes / 1000 ** unit;
  return `${unit === 0 ? value.toFixed(0) : value.toFixed(1)} ${units[unit] ?? 'B'}`;
}

/** A status as Codex spells it, in words: `waitingOnApproval` is `waiting on approval`. */
export const inWords = (status: string): string => status.replace(/[^a-zA-Z]/g, '').replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);

export const secondsText = (milliseconds: number): string => `${(milliseconds / 1000).toFixed(1)} s`;

export const counted = (count: number, singular: string): string => `${count} ${singular}${count === 1 ? '' : 's'}`;
