import { openSync, renameSync, writeFileSync, writeSync } from 'node:fs';
import path from 'node:path';

/** The two ways in which editors write a file. */
export const saves = {
  'in place': (root: string, name: string) => { writeFileSync(path.join(root, name), SAVED); },
  'by a rename': (root: string, name: string) => {
    const beside = path.join(path.dirname(root), 'being saved');
    writeFileSync(beside, SAVED);
    renameSync(beside, path.join(root, name));
  },
} as const;
export type Save = keyof typeof saves;
export const waysToSave = Object.keys(saves) as Save[];
export const SAVED = 'saved by an editor\n';

/** Opens a file to append to it later, whatever has become of its name. */
export function openInEditor(root: string, name: string): { write(text: string): void } {
  const file = openSync(path.join(root, name), 'a');
  return { write: (text) => { writeSync(file, text); } };
}
