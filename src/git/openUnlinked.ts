import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import type { Place } from './directoryTrail';
import type { SkipReason } from './includeTally';

/** Opens a file to be read, through no link, and without waiting for the other end of a FIFO. @returns it, or why not */
export async function openUnlinked(place: Place): Promise<FileHandle | SkipReason> {
  try {
    // Where a platform lacks one of the flags it is undefined, which counts as no bit.
    return await open(place, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ELOOP') return 'symbolic-link';
    if (code === 'ENXIO' || code === 'ENODEV') return 'special-file';
    return code === 'ENOENT' ? 'changed' : 'unreadable';
  }
}
