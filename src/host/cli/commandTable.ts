import type { Command } from 'commander';
import type { Session } from './session';

/** What each file of commands adds its own to. */
export interface CommandTable {
  readonly program: Command;
  readonly session: Session;
  /** Ends the run with another code than 0 without an error. */
  readonly exitWith: (code: number) => void;
}
