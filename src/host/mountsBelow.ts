import { readFile } from 'node:fs/promises';
import { isWithin } from './managedWorktrees';

/** Where other file systems are mounted in a directory. Only Linux tells; elsewhere none are known. (proc_pid_mountinfo(5): the fifth field, with octal escapes) */
export async function mountsBelow(directory: string): Promise<string[]> {
  const text = process.platform === 'linux' ? await readFile('/proc/self/mountinfo', 'utf8').catch(() => '') : '';
  const places = text.split('\n').map((line) => (line.split(' ')[4] ?? '').replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8))));
  return places.filter((place) => place.startsWith('/') && isWithin(place, directory));
}
