import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ageText, byteText, durationText, plainLabel, visibleText } from '../../src/views/displayText';
import { translate } from './translate';

describe('a label made of foreign text', () => {
  it('is one line without icons, whatever the text', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('a', '$', '(', ')', '\n', '\u2028', '\u202e', '\u200b', '\u0000', '😀', ' ') }), (text) => {
        const label = plainLabel(text, 20);
        expect(label).not.toMatch(/\$\(|[\n\r\u2028\u202e\u0000]/); // eslint-disable-line no-control-regex
        // A zero-width space stands for every parted icon.
        expect(Array.from(label.replaceAll('\u200b', '')).length).toBeLessThanOrEqual(20);
        // Throws where half of a surrogate pair is left.
        expect(() => encodeURIComponent(label)).not.toThrow();
      }),
    );
  });

  it('keeps what fits and says what was cut', () => {
    expect(plainLabel('Fix the parser', 14)).toBe('Fix the parser');
    expect(plainLabel('Fix the parser', 8)).toBe('Fix the…');
  });
});

describe('amounts for people', () => {
  it.each([[0, '0 B'], [999, '999 B'], [1000, '1.0 kB'], [48_211, '48.2 kB'], [99_960, '100 kB'], [999_499, '999 kB'], [999_500, '1.0 MB'], [3_200_000_000, '3.2 GB']])('%d bytes are %s', (bytes, text) => {
    expect(byteText(bytes)).toBe(text);
  });
  it.each([[0, '0.0 s'], [2_140, '2.1 s'], [9_960, '10 s'], [59_400, '59 s'], [59_600, '1 min 0 s'], [185_000, '3 min 5 s']])('%d milliseconds are %s', (milliseconds, text) => {
    expect(durationText(milliseconds)).toBe(text);
  });
  it.each([[-60, null], [59, null], [60, '1 min'], [3_599, '59 min'], [3_600, '1 h'], [86_399, '23 h'], [86_400, '1 day'], [40 * 86_400, '40 days']])('the age of a time %d seconds ago is %s', (seconds, text) => {
    const now = new Date('2026-01-01T12:00:00.000Z');
    expect(ageText(new Date(now.getTime() - seconds * 1000).toISOString(), now, translate)).toBe(text);
  });
});

describe('text that is decided on', () => {
  it('shows what would be hidden or reorder what is seen, and keeps its lines', () => {
    expect(visibleText('rm \u202egpj.x\u001b[2K\r\n\techo a\u200bb\r')).toBe('rm <U+202E>gpj.x<U+001B>[2K\n\techo a<U+200B>b<U+000D>');
  });
  it('is unchanged where all of it is seen', () => {
    expect(visibleText("echo 'größer → 漢字 😀' > a.txt\nls")).toBe("echo 'größer → 漢字 😀' > a.txt\nls");
  });
});
