import { setFlagsFromString } from 'node:v8';

/**
 * Has this process free the memory of its buffers where they were allocated. V8 does that on another thread, from which the allocator does not
 * give the same pages out again, so that each frame of a transfer touched fresh ones: of the processor time of sender, relay and receiver that
 * was measured to be 40 % with Node 20 and 22; with 24 it changes nothing. To be called before there is much to free; V8 looks at the flag each time that it collects.
 */
export function sweepBuffersHere(): void {
  setFlagsFromString('--no-concurrent-array-buffer-sweeping');
}
