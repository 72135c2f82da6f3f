const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
const values = new Map(Array.from(alphabet, (character, value) => [character, value]));

/** Base64url without padding (RFC 4648 section 5). Written out because browsers lack `Buffer` and this must run there. */
export function encodeBase64url(bytes: Uint8Array): string {
  let text = '';
  let bits = 0;
  let accumulator = 0;
  for (const byte of bytes) {
    accumulator = (accumulator << 8) | byte;
    for (bits += 8; bits >= 6; bits -= 6) text += alphabet.charAt((accumulator >> (bits - 6)) & 63);
    accumulator &= (1 << bits) - 1;
  }
  return bits === 0 ? text : text + alphabet.charAt((accumulator << (6 - bits)) & 63);
}

/** The bytes of canonical base64url text; undefined for any other text, so that each byte string has exactly one spelling. */
export function decodeBase64url(text: string): Uint8Array | undefined {
  if (text.length % 4 === 1) return undefined;
  const bytes = new Uint8Array(Math.floor((text.length * 6) / 8));
  let length = 0;
  let bits = 0;
  let accumulator = 0;
  for (const character of text) {
    const value = values.get(character);
    if (value === undefined) return undefined;
    accumulator = (accumulator << 6) | value;
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      bytes[length++] = accumulator >> bits;
      accumulator &= (1 << bits) - 1;
    }
  }
  // What is left over must be zero bits, or two texts would name the same bytes.
  return accumulator === 0 ? bytes : undefined;
}
