/**
 * Text of an agent, a repository or another host on its way to a terminal. There it could move the cursor, rewrite what was
 * shown before, set the clipboard (OSC 52), or show a command in another order than it would run in. So whatever is not
 * a visible character is shown as what it is instead: a person who approves a command must see all of it.
 */

// Controls (Cc), formats such as bidi marks, zero widths and tags (Cf), line and paragraph separators, private use, lone surrogates.
const HIDDEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cs}]/gu;
const CONTROL_PICTURES = 0x2400;

function visible(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  if (code < 0x20) return String.fromCodePoint(CONTROL_PICTURES + code);
  if (code === 0x7f) return '\u2421';
  return `<U+${code.toString(16).toUpperCase().padStart(4, '0')}>`;
}

/** One line: line ends too are shown, as pictures. */
export function inertLine(text: string): string {
  return text.replace(HIDDEN, visible);
}

/** Many lines: line feeds stay, tabs become spaces, all else that is hidden is shown. */
export function inertBlock(text: string): string {
  return text.replace(/\r\n/g, '\n').split('\n').map((line) => inertLine(line.replaceAll('\t', '    '))).join('\n');
}

/** JSON whose strings hold no character that a terminal would act on; it means the same. One line, or indented by `indent`. */
export function inertJson(value: unknown, indent?: number): string {
  // What has no JSON, such as undefined, is null, as in an array.
  const json = JSON.stringify(value, undefined, indent) as string | undefined;
  return (json ?? 'null').replace(/[\u007f-\u009f]|[\p{Cf}\p{Zl}\p{Zp}]/gu, (character) =>
    // A character outside the basic plane is two escapes in JSON.
    Array.from({ length: character.length }, (_, at) => `\\u${character.charCodeAt(at).toString(16).padStart(4, '0')}`).join(''),
  );
}
