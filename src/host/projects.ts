import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { z } from 'zod';
import { JsonStore } from './jsonStore';
import { project, type Project } from './protocol';

const projectsFile = z.object({ version: z.literal(1), projects: z.array(project).max(10_000) });

/** The saved projects of this host: `projects.json`. */
export class ProjectStore {
  private constructor(private readonly store: JsonStore<typeof projectsFile>) {}

  /** Throws `state-invalid` for a file that cannot be understood. */
  static async open(batonHome: string): Promise<ProjectStore> {
    return new ProjectStore(await JsonStore.open(join(batonHome, 'projects.json'), projectsFile, { version: 1, projects: [] }));
  }

  list(): readonly Project[] {
    return this.store.value.projects;
  }

  get(id: string): Project | undefined {
    return this.list().find((known) => known.id === id);
  }

  /** Saves a project. The same root and subdirectory again keeps its id and takes the identity as it is now. */
  async add(entry: Omit<Project, 'id'>): Promise<Project> {
    const saved = await this.store.update((file) => {
      const same = file.projects.find((known) => known.root === entry.root && known.subdirectory === entry.subdirectory);
      const id = same?.id ?? randomBytes(8).toString('hex');
      return { ...file, projects: [...file.projects.filter((known) => known.id !== id), { ...entry, id }] };
    });
    const added = saved.projects.at(-1);
    if (added === undefined) throw new Error('A project that was just added is not there.');
    return added;
  }

  /** Forgets a project; its files stay as they are. False where it was not known. */
  async remove(id: string): Promise<boolean> {
    if (this.get(id) === undefined) return false;
    await this.store.update((file) => ({ ...file, projects: file.projects.filter((known) => known.id !== id) }));
    return true;
  }
}
