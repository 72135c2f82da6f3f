/** Plain tables for terminals of 80 columns. */

/** A column's first row is its heading; the first column is aligned left, the others right. */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const columns = Math.max(0, ...rows.map((row) => row.length));
  const widths = Array.from({ length: columns }, (_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)));
  return rows.map((row) => widths.map((width, column) => (column === 0 ? (row[column] ?? '').padEnd(width) : (row[column] ?? '').padStart(width))).join('  ').trimEnd()).join('\n');
}

export function milliseconds(value: number): string {
  return value >= 1000 ? `${(value / 1000).toFixed(2)} s` : `${value.toFixed(0)} ms`;
}

export function spread(least: number, most: number): string {
  return `${(least / 1000).toFixed(2)}-${(most / 1000).toFixed(2)} s`;
}

export function bytes(value: number | null): string {
  if (value === null) return '-';
  return value >= 1024 * 1024 ? `${(value / 1024 / 1024).toFixed(2)} MiB` : `${(value / 1024).toFixed(1)} KiB`;
}

/** How many times the second the first is. */
export function ratio(value: number, base: number): string {
  return `${(value / base).toFixed(2)} x`;
}
