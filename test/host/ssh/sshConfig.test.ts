import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isAlias, listAliases, matchesHost, parseLine, type ConfigFiles } from '../../../src/host/ssh/sshConfig';

/** Files of `~/.ssh` and elsewhere, by path. */
function filesOf(texts: Readonly<Record<string, string>>): ConfigFiles {
  return {
    read: (path) => Promise.resolve(texts[path] ?? null),
    list: (directory) => Promise.resolve([...new Set(Object.keys(texts).filter((path) => path.startsWith(`${directory}/`)).map((path) => path.slice(directory.length + 1).split('/')[0] ?? ''))]),
  };
}
const list = async (texts: Readonly<Record<string, string>>, env: Readonly<Record<string, string>> = {}) =>
  (await listAliases({ path: '/h/.ssh/config', sshDirectory: '/h/.ssh', home: '/h', env, files: filesOf(texts) })).map(({ alias }) => alias);

describe('a line of ssh_config', () => {
  it.each([
    ['Host server', 'host', ['server']],
    ['  hOsT   a  b\t', 'host', ['a', 'b']],
    ['Host=a', 'host', ['a']],
    ['Host = a b', 'host', ['a', 'b']],
    ['Host "a b" c', 'host', ['a b', 'c']],
    ["Host 'a b' c", 'host', ['a b', 'c']],
    ['Host a\\ b', 'host', ['a b']],
    ['Include "conf dir/*.conf" other', 'include', ['conf dir/*.conf', 'other']],
    ['Include "C:\\ssh\\more"', 'include', ['C:\\ssh\\more']],
    ['Host a # b', 'host', ['a']],
    ['Host a#b', 'host', ['a#b']],
    ['Host a\r', 'host', ['a']],
    ['Host "never closed', 'host', ['never closed']],
    ['Host', 'host', []],
  ])('%j', (line, keyword, args) => {
    expect(parseLine(line)).toEqual({ keyword, args });
  });
  it.each(['', '   ', '# Host a', '\t#'])('is none: %j', (line) => {
    expect(parseLine(line)).toBeUndefined();
  });
  it('is read whatever it is', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => {
      parseLine(`Host ${text}`);
    }));
  });
});

describe('the hosts of an ssh configuration', () => {
  it('are the concrete names in their order, each once, whatever patterns stand around them', async () => {
    expect(await list({ '/h/.ssh/config': 'User me\nHost *\n  Port 22\nHost one two *.example.org !three gpu-??\nhost Two one\nHost -oProxyCommand=x a;b `id` $HOME %h\nMatch host four\nHost five' })).toEqual(['one', 'two', 'Two', 'five']);
  });

  it('are looked for in included files, relative to ~/.ssh, below ~, and by patterns in the order of their names', async () => {
    expect(await list({
      '/h/.ssh/config': 'Include conf.d/* ~/work/ssh "/etc/more hosts" missing ${WHERE}/x\nHost last',
      '/h/.ssh/conf.d/b': 'Host b', '/h/.ssh/conf.d/a': 'Host a', '/h/.ssh/conf.d/.hidden': 'Host hidden',
      '/h/work/ssh': 'Host work\nInclude conf.d/[!b]', '/etc/more hosts': 'Host more', '/opt/x': 'Host optional',
    }, { WHERE: '/opt' })).toEqual(['a', 'b', 'work', 'more', 'optional', 'last']);
  });

  it('are those of an include below a Host line only where ssh would read it for them', async () => {
    expect(await list({ '/h/.ssh/config': 'Host a b\n  Include inner\nHost *\n  Include everywhere', '/h/.ssh/inner': 'Host a c', '/h/.ssh/everywhere': 'Host d' })).toEqual(['a', 'b', 'd']);
  });

  it('end where files include each other', async () => {
    expect(await list({ '/h/.ssh/config': 'Host a\nHost *\nInclude config' })).toEqual(['a']);
  });

  it('are none where there is no configuration', async () => {
    expect(await list({})).toEqual([]);
  });
});

describe('a name that is given to ssh', () => {
  it.each(['server', 'me@server', 'a.example.org', 'größe', '_x', '10.0.0.7', 'fe80::1'])('may be %j', (text) => expect(isAlias(text)).toBe(true));
  it.each(['', '-v', '-oProxyCommand=id', 'a b', 'a;b', '$(id)', 'a`b`', '*', '!a', 'a\nb', '%h', 'a/b', 'a"b', "a'b", 'a\\b', 'x'.repeat(256), '@a', 'a\u202eb'])('may not be %j', (text) => expect(isAlias(text)).toBe(false));
});

it.each([
  [['*'], 'a', true], [['a?'], 'ab', true], [['a?'], 'a', false], [['*', '!a'], 'a', false], [['!a', '*'], 'b', true], [['!a'], 'b', false], [['a.b'], 'axb', false],
])('patterns %j and the name %j', (patterns, alias, expected) => {
  expect(matchesHost(patterns, alias)).toBe(expected);
});
