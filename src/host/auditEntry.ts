import { z } from 'zod';

/** An event as it is read back: of this version of Baton, or of another that had other fields. */
export const auditEntry = z.looseObject({ at: z.iso.datetime(), type: z.string().max(64), threadId: z.string().nullish() });
export type AuditEntry = z.output<typeof auditEntry>;
