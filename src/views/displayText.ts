/** A string in the user's language; `{0}` stands for the first argument. */
export type Translate = (message: string, ...args: (string | number)[]) => string;

// Control characters, and the marks that reorder or hide text on screen (UAX #9, "Trojan Source").
const UNSHOWABLE = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+/g; // eslint-disable-line no-control-regex

/**
 * Text of an agent or of another host as one line of a label: no line ends, no control or reordering characters, no
 * `$(icon)` (a zero-width space parts it, because some labels show a backslash as it is), at most `limit` characters.
 */
export function plainLabel(text: string, limit = 120): string {
  const line = text.replace(UNSHOWABLE, ' ').replace(/\s+/g, ' ').trim();
  return shortened(line, limit).replaceAll('$(', '$\u200b(');
}

/** The text, or its start and an ellipsis: at most `limit` code points, so that no half of a surrogate pair is left at the end. */
export function shortened(text: string, limit: number): string {
  const characters = Array.from(text);
  return characters.length > limit ? `${characters.slice(0, limit - 1).join('')}…` : text;
}

// Controls but line feed and tab (Cc), formats such as bidi marks, zero widths and tags (Cf), separators, private use, lone surrogates.
const HIDDEN = /[^\P{Cc}\n\t]|[\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cs}]/gu;

/**
 * Text of an agent that is decided on: each character that would not be seen, or would reorder what is seen, is shown as its
 * code point, so that a command reads as it would run.
 */
export function visibleText(text: string): string {
  return text.replace(/\r\n/g, '\n').replace(HIDDEN, (character) => `<U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}>`);
}

/** A number of bytes for people: decimal units, as file managers count (SI). */
export function byteText(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 || value >= 99.5 ? value.toFixed(0) : value.toFixed(1)} ${units[unit] ?? 'B'}`;
}

/** A duration in milliseconds for people: `0.4 s`, `12 s`, `3 min 5 s`. */
export function durationText(milliseconds: number): string {
  const seconds = milliseconds / 1000;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 59.5) return `${seconds.toFixed(0)} s`;
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

/** The age of a time in the largest unit that fits; null within its first minute. `time` is ISO 8601; one by a clock that is ahead has no age yet. */
export function ageText(time: string, now: Date, t: Translate): string | null {
  const minutes = Math.floor((now.getTime() - Date.parse(time)) / 60_000);
  if (!(minutes >= 1)) return null;
  if (minutes < 60) return t('{0} min', minutes);
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return t('{0} h', hours);
  const days = Math.floor(hours / 24);
  return days === 1 ? t('1 day') : t('{0} days', days);
}
