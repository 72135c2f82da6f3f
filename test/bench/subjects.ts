/** What is handed off in the bench: repositories, the work in them, and what is said in their threads. */
import { spawn } from 'node:child_process';
import { appendFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { said } from '../demo/script';
import { git, makeOrigin, workInProgress } from '../fixtures/checkout';

export interface BenchSubject {
  readonly title: string;
  /** The branch that the work is on. */
  readonly branch: string;
  makeOrigin(directory: string): Promise<string>;
  /** The state that travels. */
  work(checkout: string): Promise<void>;
  /** What the user says before the handoff; the last turn may wait for an approval. */
  readonly conversation: readonly string[];
  /** So much is added to the rollout before the handoff. */
  readonly rolloutBytes?: number;
  /** What changes at the destination before the thread is handed back. */
  workThere(worktree: string): Promise<void>;
}

/** The thread of `npm run demo`: its repository, its changes, its conversation, up to the approval that is pending. */
export const demoSubject: BenchSubject = {
  title: "the demo's thread",
  branch: 'comets',
  makeOrigin,
  work: workInProgress,
  conversation: [said.first, said.second, said.risky],
  workThere: async (worktree) => {
    await git(worktree, 'commit', '-qm', 'Orbits');
    await writeFile(join(worktree, 'later.txt'), 'later\n');
  },
};

/** A small repository, and a conversation of `megabytes`. */
export function rolloutSubject(megabytes: number): BenchSubject {
  return { ...demoSubject, title: `a rollout of ${megabytes} MB`, conversation: [said.first], rolloutBytes: megabytes * 1e6 };
}

const folders = 200;
const filesPerFolder = 100;

/** 20,000 tracked files, of which ten change; one commit, three untracked files. */
export const largeSubject: BenchSubject = {
  title: '20,000 files',
  branch: 'survey',
  makeOrigin: makeLargeOrigin,
  work: async (checkout) => {
    await git(checkout, 'switch', '-qc', 'survey');
    await appendFile(starFile(checkout, 0, 0), 'export const surveyed = true;\n');
    await git(checkout, 'commit', '-qam', 'Survey');
    for (let index = 0; index < 10; index++) await appendFile(starFile(checkout, index * 19, index * 7), `// change ${index}\n`);
    for (const index of [1, 2]) await git(checkout, 'add', '--', starFile('.', index * 19, index * 7));
    for (const index of [1, 2, 3]) await writeFile(join(checkout, `notes ${index}.txt`), `Note ${index}\n`.repeat(50));
  },
  conversation: [said.first, said.second],
  workThere: async (worktree) => {
    await git(worktree, 'commit', '-qm', 'What was staged');
    for (let index = 3; index < 6; index++) await appendFile(starFile(worktree, index * 11, index), '// and there\n');
    await rm(join(worktree, 'notes 1.txt'));
  },
};

const starFile = (checkout: string, folder: number, file: number) => join(checkout, 'catalogue', `sector${folder}`, `star${file}.js`);

/** Written by fast-import as one pack: what a clone of a real repository looks like, without the time that 20,000 loose objects take. */
async function makeLargeOrigin(directory: string): Promise<string> {
  const origin = join(directory, 'origin.git');
  await git(directory, 'init', '-q', '--bare', '-b', 'main', origin);
  const importing = spawn('git', ['fast-import', '--quiet'], { cwd: origin, stdio: ['pipe', 'ignore', 'inherit'] });
  const ended = new Promise<void>((fulfil, reject) => {
    importing.once('error', reject);
    importing.once('exit', (code) => (code === 0 ? fulfil() : reject(new Error(`git fast-import ended with ${code ?? 'a signal'}.`))));
  });
  await pipeline(catalogue(), importing.stdin);
  await ended;
  return origin;
}

function* catalogue(): Generator<string> {
  yield 'commit refs/heads/main\ncommitter Ada <ada@example.com> 1700000000 +0000\ndata 9\nCatalogue\n';
  for (let folder = 0; folder < folders; folder++) {
    for (let file = 0; file < filesPerFolder; file++) {
      const content = Array.from({ length: 25 }, (_, line) => `export const star${line} = ${(folder * 7919 + file * 104729 + line * 1299709) % 1000003};\n`).join('');
      yield `M 100644 inline catalogue/sector${folder}/star${file}.js\ndata ${content.length}\n${content}\n`;
    }
  }
}
