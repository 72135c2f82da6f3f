/** What the scripted model says in the demo. Each rule answers one thing that the user says; see test/fixtures/scriptedModel.ts. */
import type { ScriptRule } from '../fixtures/scriptedModel';

export const said = {
  first: 'Have a look at the comets and tell me what is missing.',
  second: 'Make a plan for the orbits.',
  risky: 'Publish the ephemeris.',
  more: 'Commit what you have and go on with the orbits.',
};

/** The command that needs the user's word: it writes outside the workspace. */
export const riskyCommand = 'echo "published by the agent" > published.txt';

export function demoScript(): ScriptRule[] {
  return [
    { user: /Have a look/, answers: [[{ command: 'git log --oneline -3' }], [{ message: 'The comets have no orbits yet. The secret word of this thread is **ephemeris-42**.' }]] },
    {
      user: /Make a plan/,
      answers: [
        [{ plan: [{ step: 'Read the comets', status: 'completed' }, { step: 'Compute the orbits', status: 'in_progress' }, { step: 'Publish the ephemeris', status: 'pending' }] }],
        [{ message: 'The plan stands: orbits first, then publish.' }],
      ],
    },
    { user: /Publish the ephemeris/, answers: [[{ command: riskyCommand, escalate: 'Publishing writes where the sandbox does not let me.' }], [{ message: 'Published.' }]] },
    { user: /approved/, answers: [[{ repeatAborted: true }], [{ message: 'Approved and published.' }]] },
    { user: /declined/, answers: [[{ message: 'Then I leave it unpublished.' }]] },
    {
      user: /Commit what you have/,
      answers: [
        [{ command: 'git -c user.name=Agent -c user.email=agent@example.com commit -qm "Orbits, by the agent" -- src/orbit.js && echo "export const tail = 1;" >> src/orbit.js && echo later > later.txt', escalate: 'A commit writes to the repository.' }],
        [{ message: 'Committed the orbits, and began on the tails.' }],
      ],
    },
    { user: /./, answers: [[{ message: 'I remember: the secret word is ephemeris-42.' }]] },
  ];
}
