import { z } from 'zod';
import { type CelRule, cel } from './common.ts';

/** Settings of a server, as a user may give them by name. */
export interface SettingsByName {
  readonly about: string;
  /** What a value may be. */
  readonly value: { readonly pattern: RegExp; readonly about: string };
  readonly most: number;
  /** How names are written. */
  readonly names: CelRule;
  /** Those that Herdsman sets itself, each with what to do instead. */
  readonly managed: Readonly<Record<string, string>>;
  readonly rules?: readonly CelRule[];
}

/** A field with further settings of a server, but for what Herdsman sets itself. */
export function settingsByName({ about, value, most, names, managed, rules = [] }: SettingsByName) {
  return z
    .record(z.string().max(63), z.string().max(1024).regex(value.pattern).describe(value.about))
    .default({})
    .describe(about)
    .meta({ maxProperties: most, ...cel(names, ...Object.entries(managed).map(refused), ...rules) });
}

function refused([name, instead]: [string, string]): CelRule {
  return {
    rule: `!('${name}' in self)`,
    message: `remove "${name}", which Herdsman sets itself: ${instead}`,
  };
}
