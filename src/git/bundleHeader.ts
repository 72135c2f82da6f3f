import { GitError } from './gitError';
import type { ObjectFormat, ObjectId } from './repository';

/** The one ref that a bundle of Baton's names. */
export const BUNDLE_REF = 'refs/baton/handoff';
/** Has room for the most prerequisites, even of SHA-256; a header beyond it is not read to its end. */
export const HEADER_LIMIT = 512 * 1024;
/** A destination refuses more. */
export const MOST_PREREQUISITES = 4096;

export interface BundleHeader {
  readonly objectFormat: ObjectFormat;
  readonly prerequisites: readonly ObjectId[];
  readonly tip: ObjectId;
}

/** Version 2 for SHA-1, version 3 for SHA-256 (gitformat-bundle(5)). */
export function formatBundleHeader(header: BundleHeader): Buffer {
  const first = header.objectFormat === 'sha1' ? '# v2 git bundle\n' : '# v3 git bundle\n@object-format=sha256\n';
  return Buffer.from(`${first}${header.prerequisites.map((oid) => `-${oid} \n`).join('')}${header.tip} ${BUNDLE_REF}\n\n`);
}

/**
 * Reads a bundle's header strictly: the repository's object format, no other capability, exactly one ref of the fixed name.
 *
 * @param start the first bytes of the file, at least {@link HEADER_LIMIT} of them where it has as many
 * @returns the header, and the offset at which the pack begins
 * @throws {GitError} `corrupt-bundle`
 */
export function parseBundleHeader(start: Buffer, objectFormat: ObjectFormat): { readonly header: BundleHeader; readonly packOffset: number } {
  const refuse = (what: string) => new GitError('corrupt-bundle', `The bundle that arrived ${what}. Nothing of it was used; hand off again.`);
  const end = start.indexOf('\n\n');
  if (end === -1 || end > HEADER_LIMIT) throw refuse('has no header of a Git bundle');
  const lines = start.subarray(0, end).toString('latin1').split('\n');
  const digits = objectFormat === 'sha1' ? 40 : 64;
  const signature = lines.shift();
  if (objectFormat === 'sha1' ? signature !== '# v2 git bundle' : signature !== '# v3 git bundle' || lines.shift() !== '@object-format=sha256') {
    throw refuse(`is not one of object format ${objectFormat}`);
  }
  const reference = new RegExp(`^([0-9a-f]{${digits}}) ${BUNDLE_REF.replaceAll('/', '\\/')}$`).exec(lines.pop() ?? '');
  if (reference?.[1] === undefined) throw refuse('does not end its header with the one ref that belongs there');
  if (lines.length > MOST_PREREQUISITES) throw refuse(`names more than ${MOST_PREREQUISITES} prerequisites`);
  const prerequisite = new RegExp(`^-([0-9a-f]{${digits}})(?: .*)?$`);
  const prerequisites = lines.map((line) => {
    const oid = prerequisite.exec(line)?.[1];
    if (oid === undefined) throw refuse('has a line in its header that does not belong there');
    return oid;
  });
  return { header: { objectFormat, prerequisites, tip: reference[1] }, packOffset: end + 2 };
}
