import { InvalidArgumentError } from 'commander';

const units = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** A duration of the command line, such as `30m`, `1h` or `2d`, in milliseconds; at most `mostMs`. */
export function parseDuration(mostMs: number): (text: string) => number {
  return (text) => {
    const [, count = '', unit] = /^([1-9]\d{0,4})([smhd])$/.exec(text) ?? [];
    if (unit === undefined) throw new InvalidArgumentError('It is a number with s, m, h or d behind it: 30m, 1h, 2d.');
    const milliseconds = Number(count) * units[unit as keyof typeof units];
    if (milliseconds > mostMs) throw new InvalidArgumentError(`It is at most ${mostMs >= units.d ? `${mostMs / units.d}d` : `${mostMs / units.h}h`}.`);
    return milliseconds;
  };
}
