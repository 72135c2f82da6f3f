/**
 * How long a handoff takes, end to end and piece by piece, beside doing it by hand on the same machine in the same minutes.
 * Real hosts, relay, Codex, git, ssh; the model is scripted. Loopback only, so no network latency is in the figures.
 */
import { mkdir, mkdtemp, realpath, rm } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { isMainThread, workerData } from 'node:worker_threads';
import { resolveCodex } from '../../src/codex/executable';
import { gitVersion } from '../../src/git/git';
import { sweepBuffersHere } from '../../src/host/sweepHere';
import { demoScript } from '../demo/script';
import { cloneOf } from '../fixtures/checkout';
import { endProcess, startRelayProcess } from '../fixtures/machine';
import { startScriptedModel } from '../fixtures/scriptedModel';
import { carriers } from './byHand';
import { measureBytes } from './bytesBench';
import { CAPTURE_PROCESS, playCaptureProcess } from './captureProcess';
import { measureChannel, type ChannelRun } from './channelBench';
import { playRole, type ChannelRole } from './channelRoles';
import { measureConnect } from './connectBench';
import { startCountingProxy } from './countingProxy';
import { handOffOnce, type Run } from './handoffBench';
import { measureInclude } from './includeBench';
import { startLoopbackSsh } from './loopbackSsh';
import { jsonReport, textReport, type Measurements } from './report';
import { measureCrowd, measureRelay } from './relayBench';
import { measureResume } from './resumeBench';
import { demoSubject, largeSubject, rolloutSubject } from './subjects';
import { measureScale, type ScaleMeasurement } from './workingState';
import { moveWorkingState, type WorkingStateRun } from './workingStateBench';
import { measureWorktrees } from './worktreesBench';

const program = fileURLToPath(import.meta.url);
const usage = 'Usage: npm run bench -- [--runs N] [--json] [--only demo|large|rollout|pieces|scale|include|worktrees|bytes|resume|relay|crowd|connect] [--files N] [--megabytes N] [--in DIR]\n';
const note = (text: string) => void process.stderr.write(`${text}\n`);

type Part = 'demo' | 'large' | 'rollout' | 'pieces' | 'scale' | 'include' | 'worktrees' | 'bytes' | 'resume' | 'relay' | 'crowd' | 'connect';
const everyPart: Part[] = ['demo', 'large', 'rollout', 'pieces', 'scale', 'include', 'worktrees', 'bytes', 'resume', 'relay', 'crowd', 'connect'];

/** Sizes of the repositories in which capture and restore are measured by themselves, unless `--files` names others. */
const everyScale = [1000, 20_000, 100_000];
/** Sizes of conversations, unless `--megabytes` names others: 300 takes minutes. */
const everyRollout = [1, 60];

async function bench(runs: number, parts: readonly Part[], scales: readonly number[], rollouts: readonly number[], within: string): Promise<Measurements> {
  const directory = await realpath(await mkdtemp(join(within, 'baton-bench-')));
  const endings: (() => Promise<unknown>)[] = [() => rm(directory, { recursive: true, force: true })];
  try {
    const model = await startScriptedModel({ script: demoScript() });
    endings.push(() => model.close());
    const relay = await startRelayProcess();
    endings.push(() => endProcess(relay.child));
    const wire = await startCountingProxy({ host: '127.0.0.1', port: Number(new URL(relay.url).port) });
    endings.push(() => wire.close());
    const ssh = await startLoopbackSsh(join(directory, 'ssh'));
    if (typeof ssh !== 'string') endings.push(() => ssh.close());
    const ground = { relayUrl: `ws://127.0.0.1:${wire.port}`, wire, modelUrl: model.url, carriers: carriers(ssh) };

    const handoffs: Measurements['handoffs'][number][] = [];
    const workingState: WorkingStateRun[] = [];
    const channel: ChannelRun[] = [];
    const scale: ScaleMeasurement[] = [];
    for (const files of parts.includes('scale') ? scales : []) {
      note(`${files} files: ${runs} runs`);
      scale.push(await measureScale(join(directory, `scale-${files}`), files, runs, { program, ssh }));
    }
    const sent = parts.includes('bytes') ? await measureBytes(join(directory, 'bytes')) : [];
    const include = parts.includes('include') ? await measureInclude(join(directory, 'include'), runs) : [];
    const worktrees = parts.includes('worktrees') ? await measureWorktrees(join(directory, 'worktrees'), runs) : [];
    const relayRuns = parts.includes('relay') ? await measureRelay(relay.url, program, ssh, join(directory, 'relay'), runs) : [];
    const crowd = parts.includes('crowd') ? await measureCrowd(program) : null;
    const connect = parts.includes('connect') ? await measureConnect(relay.url, model.url, join(directory, 'connect'), runs) : [];
    const resume = parts.includes('resume') ? await measureResume(join(directory, 'resume'), ground, runs) : [];
    const sized = rollouts.map((megabytes) => ['rollout', rolloutSubject(megabytes)] as const);
    for (const [index, [part, subject]] of ([['demo', demoSubject], ['large', largeSubject], ...sized] as const).entries()) {
      const pieces = part === 'large' && parts.includes('pieces');
      if (!parts.includes(part) && !pieces) continue;
      const place = join(directory, `${part}-${index}`);
      await mkdir(place);
      const origin = await subject.makeOrigin(place);
      const checkout = await cloneOf(origin, join(place, 'checkout'));
      await subject.work(checkout);
      const done: Run[] = [];
      for (let run = 1; run <= runs; run++) {
        note(`${subject.title}: run ${run} of ${runs}`);
        if (parts.includes(part)) done.push(await handOffOnce(subject, origin, checkout, join(place, `run-${run}`), ground));
        if (pieces) workingState.push(await moveWorkingState(subject, origin, checkout, join(place, `pieces-${run}`)));
        if (pieces) channel.push(await measureChannel(relay.url, program));
      }
      if (done.length > 0) handoffs.push({ title: subject.title, runs: done });
    }
    if (model.unanswered.length > 0) throw new Error(`The scripted model had no answer to: ${model.unanswered.join('; ')}`);
    return { machine: await describeMachine(), runs, carriers: ground.carriers.map(({ name }) => name), handoffs, workingState: { title: largeSubject.title, runs: workingState }, channel, relay: relayRuns, crowd, connect, scale, include, worktrees, sent, resume };
  } finally {
    for (const end of endings.reverse()) await end();
  }
}

async function describeMachine(): Promise<string> {
  const codex = await resolveCodex({ env: process.env });
  return `${availableParallelism()} cores, ${process.platform} ${process.arch},\nNode ${process.versions.node}, git ${(await gitVersion()).text}, Codex ${codex.version}; loopback only.`;
}

// As hosts and relay do, of which this process plays some.
sweepBuffersHere();
if (process.argv[2] === CAPTURE_PROCESS) {
  await playCaptureProcess(process.argv.slice(3));
} else if (isMainThread) {
  const { values } = parseArgs({ options: { runs: { type: 'string', default: '3' }, json: { type: 'boolean', default: false }, only: { type: 'string', multiple: true }, files: { type: 'string', multiple: true }, megabytes: { type: 'string', multiple: true }, in: { type: 'string', default: tmpdir() } } });
  const runs = Number(values.runs);
  const parts = (values.only ?? everyPart) as Part[];
  const scales = values.files?.map(Number) ?? everyScale;
  const rollouts = values.megabytes?.map(Number) ?? everyRollout;
  if (rollouts.some((megabytes) => !(megabytes > 0 && megabytes <= 2000)) || scales.some((files) => !Number.isInteger(files) || files < 100) || !Number.isInteger(runs) || runs < 1 || runs > 100 || parts.some((part) => !everyPart.includes(part))) {
    note(usage);
    process.exitCode = 2;
  } else {
    const measured = await bench(runs, parts, scales, rollouts, values.in);
    process.stdout.write(`${values.json ? JSON.stringify(jsonReport(measured), null, 2) : textReport(measured)}\n`);
  }
} else {
  await playRole(workerData as ChannelRole);
}
