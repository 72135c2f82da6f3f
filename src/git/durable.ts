import { open, rename } from 'node:fs/promises';
import path from 'node:path';

/** What a directory holds under which name is on disk when this returns. Windows cannot open a directory, and orders renames by its journal. */
export async function syncDirectory(directory: string): Promise<void> {
  if (process.platform !== 'win32') await sync(directory);
}

/** Writes a file of mode 0600 that after a crash holds the old content or the new one, whole; the new one once this returns. One writer at a time. */
export async function writeDurably(file: string, content: string): Promise<void> {
  const temporary = `${file}.tmp`;
  const handle = await open(temporary, 'w', 0o600);
  try {
    await handle.writeFile(content);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(temporary, file);
  await syncDirectory(path.dirname(file));
}

/**
 * Refs that were just set are on disk when this returns. `core.fsync` alone does not do it: git before 2.36 does not know it, and none
 * syncs the directories. A ref that is no file (reftable) is git's to sync.
 */
export async function syncRefs({ commonDir }: { readonly commonDir: string }, names: readonly string[]): Promise<void> {
  const directories = new Set<string>();
  for (const name of names) {
    const parts = name.split('/');
    const isFile = await sync(path.join(commonDir, ...parts)).then(() => true, (error: unknown) => {
      if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return false;
      throw error;
    });
    if (isFile) for (let depth = parts.length - 1; depth >= 0; depth--) directories.add(path.join(commonDir, ...parts.slice(0, depth)));
  }
  for (const directory of directories) await syncDirectory(directory);
}

async function sync(name: string): Promise<void> {
  // Windows syncs only what is open for writing.
  const handle = await open(name, process.platform === 'win32' ? 'r+' : 'r');
  await handle.sync().finally(() => handle.close());
}
