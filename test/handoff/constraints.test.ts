import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { constraints, constraintSettings, constraintsOfBoth, contradictions, notHeld, webSearchMode, webSearchWithin, type Constraints } from '../../src/handoff/constraints';

const order = webSearchMode.options;
const some = <T>(...all: T[]) => fc.option(fc.subarray(all), { nil: null });
const other = (key: string, digit: string) => ({ key, digest: digit.repeat(64) });
const any: fc.Arbitrary<Constraints> = fc.record({
  allowedWebSearchModes: some(...order),
  featuresOff: some('apps', 'memories', 'shell_tool'),
  featuresOn: some('apps', 'hooks'),
  allowLoginShell: fc.constantFrom(false as const, null),
  allowedModelProviders: some('openai', 'azure'),
  others: some(other('rules', 'a'), other('rules', 'b'), other('apps', 'a')),
});

describe('constraints that hold together', () => {
  it('allow what both allow and demand what either demands', () => {
    fc.assert(fc.property(any, any, (a, b) => {
      const both = constraintsOfBoth(a, b);
      expect(constraints.safeParse(both).success).toBe(true);
      for (const mode of order) expect(both.allowedWebSearchModes?.includes(mode) ?? true).toBe((a.allowedWebSearchModes?.includes(mode) ?? true) && (b.allowedWebSearchModes?.includes(mode) ?? true));
      for (const name of ['openai', 'azure']) expect(both.allowedModelProviders?.includes(name) ?? true).toBe((a.allowedModelProviders?.includes(name) ?? true) && (b.allowedModelProviders?.includes(name) ?? true));
      for (const name of ['apps', 'memories', 'shell_tool']) expect(both.featuresOff?.includes(name) === true).toBe(a.featuresOff?.includes(name) === true || b.featuresOff?.includes(name) === true);
      expect(both.allowLoginShell === false).toBe(a.allowLoginShell === false || b.allowLoginShell === false);
      expect(notHeld(a, both)).toEqual([]);
      expect(notHeld(b, both)).toEqual([]);
    }));
  });

  it('contradict each other only where one wants on what the other wants off', () => {
    expect(contradictions(constraintsOfBoth({ featuresOff: ['apps', 'hooks'] }, { featuresOn: ['hooks', 'memories'] }))).toEqual(['hooks']);
    expect(contradictions(constraintsOfBoth({ featuresOff: ['apps'] }, { featuresOff: ['apps'] }))).toEqual([]);
  });
});

describe('web search', () => {
  it('is allowed, no laxer than what is configured, and the laxest of those', () => {
    fc.assert(fc.property(fc.subarray([...order]), fc.constantFrom(...order), (allowed, configured) => {
      const found = webSearchWithin({ allowedWebSearchModes: allowed }, configured);
      const fitting = order.filter((mode) => allowed.includes(mode) && order.indexOf(mode) <= order.indexOf(configured));
      // That can always be had.
      expect(found).toBe(fitting.at(-1) ?? 'disabled');
    }));
    expect(webSearchWithin({}, 'live')).toBeNull();
    expect(webSearchWithin({ allowedWebSearchModes: ['live', 'cached'] }, null)).toBe('cached');
  });
});

it('a thread is held by settings that only ever take something away', () => {
  expect(constraintSettings({ featuresOff: ['apps'], featuresOn: ['hooks'], allowLoginShell: false, allowedWebSearchModes: ['live'] }, 'cached')).toEqual({ web_search: 'cached', allow_login_shell: false, 'features.apps': false });
  expect(constraintSettings({ featuresOn: ['hooks'] }, null)).toEqual({});
});

it('a name that would lead to another setting is refused', () => {
  for (const name of ['a.b', 'a"', 'A', '', 'a b', 'a=1']) expect(constraints.safeParse({ featuresOff: [name] }).success, name).toBe(false);
  expect(constraints.safeParse({ allowLoginShell: true }).success).toBe(false);
  expect(constraints.safeParse({ others: [{ key: 'rules\n', digest: 'a'.repeat(64) }] }).success).toBe(false);
});
