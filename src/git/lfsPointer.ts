import { createHash } from 'node:crypto';
import { lines, runGit, streamGit, type GitOptions } from './git';
import type { ObjectFormat, ObjectId } from './repository';

/** A Git LFS object: content that is kept beside the repository, under its own hash. */
export interface LfsObject {
  /** SHA-256 of the content, hex. */
  readonly oid: string;
  /** Of the content, in bytes. */
  readonly size: number;
}

/** Only the form that git-lfs itself writes today; what extensions or its forerunners wrote is carried as any other file. */
const form = /^version https:\/\/git-lfs\.github\.com\/spec\/v1\noid sha256:([0-9a-f]{64})\nsize (0|[1-9]\d{0,14})\n$/;
/** Longest text of that form. */
export const POINTER_BYTES = 141;
/** As many pointers as are held in memory at once while they are read. */
const AT_ONCE = 50_000;

/** What stands in the repository for an LFS object (git-lfs, docs/spec.md). */
export function pointerText({ oid, size }: LfsObject): string {
  return `version https://git-lfs.github.com/spec/v1\noid sha256:${oid}\nsize ${size}\n`;
}

/** Null for what is no pointer. */
export function parsePointer(content: Buffer): LfsObject | null {
  const match = content.length > POINTER_BYTES ? null : form.exec(content.toString('latin1'));
  return match === null ? null : { oid: match[1] ?? '', size: Number(match[2]) };
}

/** The object name that a pointer has as a blob. */
export function pointerBlob(object: LfsObject, format: ObjectFormat): ObjectId {
  const text = pointerText(object);
  return createHash(format).update(`blob ${text.length}\0${text}`).digest('hex');
}

/** Each object once. */
export function distinctObjects(objects: Iterable<LfsObject>): LfsObject[] {
  return [...new Map([...objects].map(({ oid, size }) => [oid, { oid, size }])).values()];
}

/** Those of the objects that are pointers. Objects that are not there are passed over. */
export async function readPointers(oids: Iterable<ObjectId>, options: GitOptions): Promise<Map<ObjectId, LfsObject>> {
  const asked = [...new Set(oids)];
  const small: ObjectId[] = [];
  if (asked.length === 0) return new Map();
  for await (const line of lines(streamGit(['cat-file', '--batch-check=%(objectname) %(objecttype) %(objectsize)'], { ...options, input: asked.map((oid) => Buffer.from(`${oid}\n`)) }))) {
    const [oid = '', type, size] = line.split(' ');
    if (type === 'blob' && Number(size) <= POINTER_BYTES) small.push(oid);
  }
  const pointers = new Map<ObjectId, LfsObject>();
  for (let start = 0; start < small.length; start += AT_ONCE) {
    const some = small.slice(start, start + AT_ONCE);
    const { stdout } = await runGit(['cat-file', '--batch=%(objectsize)'], { ...options, input: some.map((oid) => `${oid}\n`).join('') });
    let at = 0;
    for (const oid of some) {
      const feed = stdout.indexOf(10, at);
      const end = feed + 1 + Number(stdout.toString('latin1', at, feed));
      const pointer = parsePointer(stdout.subarray(feed + 1, end));
      if (pointer !== null) pointers.set(oid, pointer);
      at = end + 1;
    }
  }
  return pointers;
}
