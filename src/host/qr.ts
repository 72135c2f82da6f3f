import { encode, renderSVG } from 'uqr';

/** Light modules around the code, of which the standard (ISO/IEC 18004) wants four. */
const QUIET = 4;
const settings = { ecc: 'L', border: QUIET } as const;

/** A QR code of a text as an SVG picture, black on white whatever is around it. */
export function qrSvg(text: string): string {
  return renderSVG(text, { ...settings, whiteColor: '#fff', blackColor: '#000' });
}

/**
 * A QR code of a text in half-blocks, two modules to a character. `colour`: black on white by escape sequences, so that it can be scanned
 * whatever the terminal's colours are; without, light modules are drawn, which is right on a dark background.
 */
export function qrText(text: string, colour: boolean): string {
  const { data, size } = encode(text, settings);
  const dark = (row: number, column: number): boolean => data[row]?.[column] ?? false;
  const lines = Array.from({ length: Math.ceil(size / 2) }, (_, line) => Array.from({ length: size }, (_unused, column) => {
    // The row below the last one is light.
    const upper = !dark(2 * line, column);
    const lower = !dark(2 * line + 1, column);
    return upper ? (lower ? '█' : '▀') : lower ? '▄' : ' ';
  }).join(''));
  return lines.map((line) => (colour ? `\u001b[97;40m${line}\u001b[0m` : line)).join('\n');
}
