import type { ThreadDelta, ThreadViewState, ViewItem, ViewTurn } from './threadMessages';

/** Characters of a command's output that a thread view keeps: the end, where errors stand. */
export const OUTPUT_LIMIT = 64 * 1024;

/**
 * The state of a thread view after `delta`. Pure; extension and page both run it, so a snapshot and the deltas after it
 * give the same state on each side. What a delta repeats (an item, an approval, the end of a turn) is applied once.
 */
export function applyDelta(state: ThreadViewState, delta: ThreadDelta): ThreadViewState {
  switch (delta.type) {
    case 'turnStarted':
      return { ...withTurn(state, delta.turnId, (turn) => turn), activity: 'running' };
    case 'turnEnded':
      return {
        ...withTurn(state, delta.turnId, (turn) => ({ ...turn, status: delta.status, error: delta.error, items: turn.items.map(ended) })),
        activity: state.activity === 'moved' || state.activity === 'moving' ? state.activity : 'idle',
      };
    case 'itemChanged':
      return withTurn(state, delta.turnId, (turn) => ({ ...turn, items: putItem(turn.items, delta.item) }));
    case 'textAdded':
      return withTurn(state, delta.turnId, (turn) => ({ ...turn, items: addText(turn.items, delta) }));
    case 'earlierTurns': {
      const known = new Set(state.turns.map((turn) => turn.id));
      return { ...state, turns: [...delta.turns.filter((turn) => !known.has(turn.id)), ...state.turns], hasEarlierTurns: delta.hasEarlierTurns };
    }
    case 'planChanged':
      return { ...state, plan: delta.plan };
    case 'approvalRequested':
      return { ...state, approvals: [...state.approvals.filter((known) => known.id !== delta.approval.id), delta.approval] };
    case 'approvalResolved':
      return { ...state, approvals: state.approvals.filter((known) => known.id !== delta.id) };
    case 'activityChanged':
      return { ...state, activity: delta.activity, movedTo: delta.movedTo };
    case 'titleChanged':
      return { ...state, title: delta.title };
    case 'connectionChanged':
      return { ...state, connected: delta.connected };
  }
}

/** The turn that runs now, or undefined. */
export function runningTurn(state: ThreadViewState): ViewTurn | undefined {
  return state.turns.findLast((turn) => turn.status === 'inProgress');
}

/** Keeps the last `OUTPUT_LIMIT` characters of an output and says how many were left out before them. */
export function boundedOutput(output: string, omittedBefore: number): { output: string; omittedCharacters: number } {
  const omitted = Math.max(0, output.length - OUTPUT_LIMIT);
  return { output: omitted === 0 ? output : output.slice(omitted), omittedCharacters: omittedBefore + omitted };
}

function withTurn(state: ThreadViewState, turnId: string, change: (turn: ViewTurn) => ViewTurn): ThreadViewState {
  if (state.turns.some((turn) => turn.id === turnId)) {
    return { ...state, turns: state.turns.map((turn) => (turn.id === turnId ? change(turn) : turn)) };
  }
  return { ...state, turns: [...state.turns, change({ id: turnId, status: 'inProgress', error: null, items: [] })] };
}

function putItem(items: readonly ViewItem[], item: ViewItem): ViewItem[] {
  return items.some((known) => known.id === item.id) ? items.map((known) => (known.id === item.id ? item : known)) : [...items, item];
}

function addText(items: readonly ViewItem[], delta: Extract<ThreadDelta, { type: 'textAdded' }>): ViewItem[] {
  const known = items.find((item) => item.id === delta.itemId);
  if (known === undefined) {
    // A command's output before its start: the item itself, with all of its output, follows when it ends.
    return delta.kind === 'command' ? [...items] : [...items, { kind: delta.kind, id: delta.itemId, text: delta.text }];
  }
  if (known.kind !== delta.kind) return [...items];
  return putItem(items, known.kind === 'command' ? { ...known, ...boundedOutput(known.output + delta.text, known.omittedCharacters) } : { ...known, text: known.text + delta.text });
}

/** Codex reports no end for the items that an interrupted turn leaves open; they ended with it all the same. */
function ended(item: ViewItem): ViewItem {
  return 'status' in item && item.status === 'inProgress' ? { ...item, status: 'failed' } : item;
}
