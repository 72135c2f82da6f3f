/** Errors on their way over JSON-RPC: the reason and the message travel, stack traces and causes stay in the log. */
import { ErrorCodes, ResponseError } from 'vscode-jsonrpc/node';
import { ZodError, z } from 'zod';
import { CodexError } from '../codex/codexError';
import { GitError } from '../git/gitError';
import { HandoffError } from '../handoff/handoffError';
import { RelayError } from '../relay/relayError';
import { HostError, type HostErrorReason } from './hostError';
import { ErrorCode, errorData } from './protocol';

/** The stable reason of any error and a message for people; `internal` for one that nobody foresaw. */
export function describeError(error: unknown): { readonly reason: string; readonly message: string } {
  if (error instanceof HostError || error instanceof CodexError || error instanceof GitError || error instanceof HandoffError || error instanceof RelayError) {
    return { reason: error.reason, message: error.message };
  }
  if (error instanceof ZodError) return { reason: 'invalid-params', message: z.prettifyError(error) };
  if (error instanceof Error && 'code' in error && error.code === 'ENOSPC') return { reason: 'disk-full', message: 'The disk is full. Free some space and try again.' };
  return { reason: 'internal', message: error instanceof Error ? error.message : String(error) };
}

/** Any error as the error object of a JSON-RPC reply. */
export function toResponseError(error: unknown): ResponseError<unknown> {
  if (error instanceof ResponseError) return error;
  const { reason, message } = describeError(error);
  const findings = error instanceof HostError ? error.details.findings : undefined;
  const code = reason === 'invalid-params' ? ErrorCode.InvalidParams : reason === 'unknown-method' ? ErrorCode.MethodNotFound : reason === 'not-permitted' ? ErrorCode.NotPermitted : ErrorCode.Failed;
  return new ResponseError(code, message, { reason, ...(findings === undefined ? {} : { findings }) });
}

/** Whether the other side answered with an error, rather than that no answer came. */
export const wasAnswered = (error: unknown): boolean => error instanceof HostError && error.cause instanceof ResponseError && errorData.safeParse(error.cause.data).success;

/** A JSON-RPC error reply as a HostError; anything else as it is. */
export function fromResponseError(error: unknown): unknown {
  if (!(error instanceof ResponseError)) return error;
  if (error.code === ErrorCodes.PendingResponseRejected) return new HostError('connection-lost', 'The connection broke before the answer came.', { cause: error });
  const data = errorData.safeParse(error.data);
  if (!data.success) return new HostError('internal', error.message, { cause: error });
  return new HostError(data.data.reason as HostErrorReason, error.message, { cause: error, ...(data.data.findings === undefined ? {} : { findings: data.data.findings }) });
}
