/**
 * Loaded into a host by `NODE_OPTIONS=--import`, so that it can be hurt exactly where it writes: it wraps Node's own calls that change files, and
 * the start and end of git. What it does at which of them is in `orders.json` (see orders.ts) of the directory that
 * BATON_TORTURE names; that file is read at each call, so orders reach a host that runs already. Nothing in the host knows of it.
 */
import childProcess from 'node:child_process';
import fs from 'node:fs';
import promises from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { basename, join, relative, resolve } from 'node:path';
import { shiftWallClock } from '../fixtures/wallClock.mjs';

const directory = process.env.BATON_TORTURE ?? '';
// Neither Codex nor anything else that the host starts is hurt.
delete process.env.NODE_OPTIONS;
delete process.env.BATON_TORTURE;

const { appendFileSync, openSync, readFileSync, writeSync } = fs;
const home = process.env.HOME ?? '/';

/** What changes from run to run is not part of a point's name. */
const varying = [
  [/(?<=\.json)\.\d+(?=$| )/, '.<temporary>'],
  [/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, '<uuid>'],
  [/\b\d{4}-\d{2}-\d{2}T[\d-]+/g, '<time>'],
  [/\b\d{4}\/\d{2}\/\d{2}\b/g, '<date>'],
  [/\b\d{4}-\d{2}(?=\.jsonl)/g, '<month>'],
  [/\b[0-9a-f]{38,64}\b/g, '<hash>'],
  [/\b[0-9a-f]{32}\b/g, '<handoff>'],
  [/\b[0-9a-f]{16}\b/g, '<random>'],
  [/(?<=worktrees\/|\.)[0-9a-f]{8}\b/g, '<id>'],
  [/(?<=canary-)[0-9a-f]{12}\b/g, '<id>'],
  [/objects\/[0-9a-f]{2}\//g, 'objects/<xx>/'],
  // Of a name that is taken git makes another by a number.
  [/(?<=\.git\/worktrees\/[^/]*?)\d+(?=\/|$)/g, ''],
  [/-[A-Za-z0-9]{6}(?=$|\/)/g, '-<random>'],
];

function nameOf(call, path) {
  let name = relative(home, resolve(String(path instanceof URL ? path.pathname : path))).replaceAll('\\', '/');
  for (const [pattern, word] of varying) name = name.replace(pattern, word);
  return `${call} ${name}`;
}

let slept = 0;
let orders = { id: '' };
let counts = new Map();
let total = 0;

function read() {
  let text;
  try {
    text = readFileSync(join(directory, 'orders.json'), 'utf8');
  } catch {
    text = '{"id":""}';
  }
  const fresh = JSON.parse(text);
  if (fresh.id !== orders.id) {
    counts = new Map();
    total = 0;
    orders = fresh;
    slept += fresh.sleptMs ?? 0;
  }
}

const note = (line) => appendFileSync(join(directory, 'heard.jsonl'), `${JSON.stringify({ id: orders.id, ...line })}\n`);

function die(point) {
  note({ killed: point });
  process.kill(process.pid, 'SIGKILL');
  // The signal is pending already; nothing more of the host may run before it is delivered.
  for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1000);
}

/** One moment of one call. Gives whether the host is to die now. */
function reached(name, moment) {
  read();
  const point = `${name} | ${moment}`;
  const nth = (counts.get(point) ?? 0) + 1;
  counts.set(point, nth);
  total += 1;
  if (orders.record === true) note({ point });
  const { kill } = orders;
  return kill !== undefined && (kill.point === undefined ? total === kill.nth : point === kill.point && nth === kill.nth);
}

function failure(name) {
  const { fail } = orders;
  if (fail === undefined || !name.startsWith(fail.call)) return null;
  fail.nth -= 1;
  if (fail.nth !== 0) return null;
  note({ failed: name });
  return Object.assign(new Error(`${fail.code}: i/o error, ${name}`), { code: fail.code, errno: -5, syscall: name.split(' ')[0] });
}

/** @param half does the half of what the call would do, where there is such a thing */
function before(name, half) {
  if (reached(name, 'before')) die(`${name} | before`);
  if (half !== undefined && reached(name, 'during')) {
    half();
    die(`${name} | during`);
  }
  return failure(name);
}

function after(name) {
  if (reached(name, 'after')) die(`${name} | after`);
}

/** What Node hides on its functions, `promisify` relies on. */
function disguise(wrapper, original) {
  for (const key of Reflect.ownKeys(original)) {
    if (!(key in wrapper) || typeof key === 'symbol') Object.defineProperty(wrapper, key, Object.getOwnPropertyDescriptor(original, key));
  }
  return wrapper;
}

function wrapPromised(owner, call, name, half) {
  const original = owner[call];
  owner[call] = disguise(async function (...args) {
    const point = name.call(this, args);
    if (point === null) return original.apply(this, args);
    const refused = before(point, half === undefined ? undefined : () => half.call(this, args));
    if (refused !== null) throw refused;
    const result = await original.apply(this, args);
    after(point);
    return result;
  }, original);
}

function wrapCallback(call, name, half) {
  const original = fs[call];
  fs[call] = disguise(function (...args) {
    const done = args.pop();
    const point = name(args);
    if (point === null || typeof done !== 'function') return original.call(fs, ...args, done);
    const refused = before(point, half === undefined ? undefined : () => half(args));
    if (refused !== null) {
      process.nextTick(done, refused);
      return undefined;
    }
    return original.call(fs, ...args, (error, ...rest) => {
      if (error === null || error === undefined) after(point);
      done(error, ...rest);
    });
  }, original);
}

const halfOf = (bytes) => {
  const all = Buffer.isBuffer(bytes) || ArrayBuffer.isView(bytes) ? Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength) : Buffer.from(String(bytes));
  return all.subarray(0, Math.floor(all.length / 2));
};
const writes = (flags) => (typeof flags === 'string' ? /[wa+]/.test(flags) : (flags ?? 0) & (fs.constants.O_WRONLY | fs.constants.O_RDWR | fs.constants.O_CREAT));

/** Files that are open for writing: by number for callbacks, by object for promises. */
const numbered = new Map();
const handles = new WeakMap();

const openPromised = promises.open;
const openCallback = fs.open;
{
  const probe = await openPromised(process.execPath, 'r');
  const FileHandle = Object.getPrototypeOf(probe);
  await probe.close();
  const onHandle = (call) => function () {
    const path = handles.get(this);
    return path === undefined ? null : nameOf(call, path);
  };
  const writeHalf = function ([bytes]) {
    writeSync(this.fd, halfOf(bytes));
  };
  for (const call of ['write', 'appendFile', 'writeFile']) wrapPromised(FileHandle, call, onHandle(call), writeHalf);
  for (const call of ['writev', 'truncate']) wrapPromised(FileHandle, call, onHandle(call));
  for (const call of ['sync', 'datasync']) wrapPromised(FileHandle, call, onHandle('sync'));
}
promises.open = disguise(async (path, flags, mode) => {
  const writing = writes(flags);
  const point = writing ? nameOf('open', path) : null;
  const refused = point === null ? null : before(point);
  if (refused !== null) throw refused;
  const handle = await openPromised(path, flags, mode);
  if (point !== null) after(point);
  // Also one that is only read: directories are opened so, and synced.
  handles.set(handle, path);
  return handle;
}, openPromised);
fs.open = disguise((path, ...args) => {
  const done = args.pop();
  if (!writes(args[0])) return openCallback.call(fs, path, ...args, done);
  const point = nameOf('open', path);
  const refused = before(point);
  if (refused !== null) return process.nextTick(done, refused);
  return openCallback.call(fs, path, ...args, (error, fd) => {
    if (error === null) {
      numbered.set(fd, path);
      after(point);
    }
    done(error, fd);
  });
}, openCallback);
const onNumber = (call) => ([fd]) => (numbered.has(fd) ? nameOf(call, numbered.get(fd)) : null);
wrapCallback('write', onNumber('write'), ([fd, bytes]) => writeSync(fd, halfOf(bytes)));
wrapCallback('writev', onNumber('writev'));
wrapCallback('fsync', onNumber('sync'));
const closeCallback = fs.close;
fs.close = disguise((fd, ...done) => {
  numbered.delete(fd);
  return closeCallback.call(fs, fd, ...done);
}, closeCallback);

const onPath = (call) => ([path]) => nameOf(call, path);
for (const call of ['rename', 'link', 'copyFile']) {
  wrapPromised(promises, call, ([from, to]) => `${nameOf(call, from)} -> ${nameOf('', to).trim()}`);
  wrapCallback(call, ([from, to]) => `${nameOf(call, from)} -> ${nameOf('', to).trim()}`);
}
// What a removal of a whole directory goes through one by one are calls of `unlink`.
wrapPromised(promises, 'rm', onPath('rm'));
for (const call of ['writeFile', 'appendFile']) {
  wrapPromised(promises, call, ([path]) => (typeof path === 'object' && 'fd' in path ? null : nameOf(call, path)), ([path, bytes]) => {
    writeSync(openSync(path, call === 'writeFile' ? 'w' : 'a', 0o600), halfOf(bytes));
  });
}
for (const call of ['unlink', 'rmdir', 'mkdir', 'symlink', 'truncate']) {
  wrapPromised(promises, call, call === 'symlink' ? ([, path]) => nameOf(call, path) : onPath(call));
}
wrapCallback('unlink', onPath('unlink'));

/** The sub-command of git: what follows the options of git itself. */
function gitCommand(args) {
  for (let index = 0; index < args.length; index++) {
    if (args[index] === '-c' || args[index] === '-C') index += 1;
    else if (!args[index].startsWith('-')) return args[index];
  }
  return '?';
}
const { spawn } = childProcess;
childProcess.spawn = disguise((program, args, options) => {
  if (basename(String(program)).replace(/\.exe$/, '') !== 'git' || !Array.isArray(args)) return spawn(program, args, options);
  const name = `git ${gitCommand(args)}`;
  if (reached(name, 'before')) die(`${name} | before`);
  const child = spawn(program, args, options);
  // Git goes on alone, its input cut off; or it dies with its host, as when the power goes.
  if (reached(name, 'during')) die(`${name} | during`);
  if (reached(name, 'together')) {
    child.kill('SIGKILL');
    die(`${name} | together`);
  }
  child.prependOnceListener('exit', () => after(name));
  return child;
}, spawn);

shiftWallClock(() => orders.clockShiftMs ?? 0);
// It never goes back: what was slept stays so under later orders.
const monotonic = performance.now.bind(performance);
Object.defineProperty(performance, 'now', {
  configurable: true,
  value: () => {
    read();
    return monotonic() + slept;
  },
});

syncBuiltinESMExports();
