import { resolve } from 'node:path';
import { HostError } from '../hostError';
import type { Project } from '../protocol';
import type { CommandTable } from './commandTable';
import { inertLine } from './inertText';
import { table } from './layout';

export function addProjectCommands({ program, session }: CommandTable): void {
  const command = program.command('project').description('the saved projects of this host: where threads may arrive');
  const show = (projects: readonly Project[]) =>
    session.result({ projects }, () =>
      projects.length === 0
        ? 'No project is saved. `baton project add` saves the repository you are in.'
        : table(['ID', 'FOLDER'], projects.map((project) => [project.id, inertLine(project.subdirectory === '' ? project.root : `${project.root} › ${project.subdirectory}`)]), Infinity),
    );

  command
    .command('add')
    .argument('[DIR]', 'a folder of a Git repository', '.')
    .description('save a project')
    .action(async (directory: string) => {
      const client = await session.host();
      const { project } = await client.call('project/add', { directory: resolve(directory) });
      show([project]);
    });
  command
    .command('list')
    .description('list the saved projects')
    .action(async () => show((await (await session.host()).call('project/list')).projects));
  command
    .command('remove')
    .argument('<PROJECT>', 'its id, or its folder')
    .description('forget a project; its files stay as they are')
    .action(async (word: string) => {
      const client = await session.host();
      const { projects } = await client.call('project/list');
      const folder = resolve(word);
      const found = projects.find((project) => project.id === word) ?? projects.find((project) => project.subdirectory === '' ? project.root === folder : resolve(project.root, project.subdirectory) === folder);
      if (found === undefined) throw new HostError('no-such-project', `No project "${word}" is saved. \`baton project list\` shows those that are.`);
      await client.call('project/remove', { id: found.id });
      show(projects.filter((project) => project.id !== found.id));
    });
}
