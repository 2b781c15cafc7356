import type { Problem } from '../sharding/problem.ts';
import type { Connection } from './connection.ts';
import { PostgresError } from './postgres-error.ts';
import { statement } from './statement.ts';

/** A parameter as the running server knows it. */
export interface Setting {
  readonly name: string;
  readonly vartype: 'bool' | 'integer' | 'real' | 'string' | 'enum';
  readonly unit: string | null;
  readonly min_val: string | null;
  readonly max_val: string | null;
  readonly enumvals: readonly string[] | null;
  /** internal, postmaster, sighup, superuser, user, …: what a change needs. */
  readonly context: string;
  readonly setting: string;
  readonly pending_restart: boolean;
}

/** Reads all parameters of the running server. */
export async function readSettings(connection: Connection): Promise<Setting[]> {
  return connection.query<Setting>({
    text: 'SELECT name, vartype, unit, min_val, max_val, enumvals, context, setting, pending_restart FROM pg_settings',
  });
}

/** A line of the configuration files that the server could not use. */
export interface RefusedSetting {
  readonly name: string;
  readonly setting: string;
  readonly error: string;
}

/** Lines that the server refuses, or `unknown` where the operator may not ask (before its role was granted the view). */
export async function readRefusedSettings(
  connection: Connection,
): Promise<readonly RefusedSetting[] | 'unknown'> {
  try {
    return await connection.query<RefusedSetting>({
      text: `SELECT coalesce(f.name, '') AS name, coalesce(f.setting, '') AS setting, f.error FROM pg_file_settings f
        WHERE f.error IS NOT NULL AND NOT EXISTS (
          SELECT FROM pg_settings s WHERE s.name = f.name AND s.pending_restart
        )`,
    });
  } catch (error) {
    if (error instanceof PostgresError && error.sqlstate === '42501') return 'unknown';
    throw error;
  }
}

/**
 * Lets the running server judge what it can judge without being changed: the values of parameters that a session may set for
 * itself, each in a transaction that is rolled back. (Texts such as DateStyle have rules that no view shows.)
 */
export async function probeParameters(
  connection: Connection,
  parameters: Readonly<Record<string, string>>,
  settings: readonly Setting[],
): Promise<Problem[]> {
  const problems: Problem[] = [];
  for (const [name, value] of Object.entries(parameters)) {
    if (!settings.some((setting) => setting.name === name && setting.context === 'user')) continue;
    try {
      await connection.query({ text: 'BEGIN' });
      await connection.query(statement('SELECT set_config($1, $2, true)', name, value));
    } catch (error) {
      if (!(error instanceof PostgresError)) throw error;
      const hint = error.hint === undefined ? '' : ` (${error.hint})`;
      problems.push({ code: 'parameter-value', message: `parameter "${name}": ${error.message}${hint}` });
    } finally {
      await connection.query({ text: 'ROLLBACK' });
    }
  }
  return problems;
}

/** Parameters that the operator and Patroni set: what users write for them would break the cluster or be overwritten. */
const managed =
  /^(listen_addresses|port|unix_socket_directories|data_directory|config_file|hba_file|ident_file|external_pid_file|ssl|ssl_(ca|cert|key|crl)_file|ssl_crl_dir|primary_conninfo|primary_slot_name|hot_standby|wal_level|wal_log_hints|cluster_name|synchronous_standby_names|synchronized_standby_slots|recovery_target.*|restore_command|archive_cleanup_command|recovery_end_command|password_encryption)$/;

/** Whether the operator sets a parameter by itself. */
function isManagedParameter(name: string): boolean {
  return managed.test(name);
}

/** What of the user's parameters the server would refuse, with the nearest thing that it would take. */
export function checkParameters(
  parameters: Readonly<Record<string, string>>,
  settings: readonly Setting[],
): Problem[] {
  const known = new Map(settings.map((setting) => [setting.name.toLowerCase(), setting]));
  return Object.entries(parameters).flatMap(([name, value]): Problem[] => {
    const problem = checkParameter(name, value, known);
    return problem === undefined ? [] : [{ ...problem, message: `parameter "${name}": ${problem.message}` }];
  });
}

function checkParameter(
  name: string,
  value: string,
  known: ReadonlyMap<string, Setting>,
): Problem | undefined {
  if (!/^[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_$]*)*$/i.test(name)) {
    return { code: 'parameter-name', message: 'is not a name: use letters, digits, "_" and "."' };
  }
  if (isManagedParameter(name.toLowerCase())) {
    return { code: 'managed-parameter', message: 'is set by the operator: leave it out' };
  }
  const setting = known.get(name.toLowerCase());
  if (setting === undefined) {
    // An extension's parameter is unknown until its library is loaded.
    if (name.includes('.')) return undefined;
    const near = nearest(name.toLowerCase(), [...known.keys()]);
    const advice = near === undefined ? 'leave it out' : `did you mean "${near}"?`;
    return { code: 'unknown-parameter', message: `PostgreSQL 17 has no such parameter: ${advice}` };
  }
  if (setting.context === 'internal') {
    return {
      code: 'internal-parameter',
      message: 'is fixed when PostgreSQL is built or initialised: leave it out',
    };
  }
  const message = checkValue(value, setting);
  return message === undefined ? undefined : { code: 'parameter-value', message };
}

function checkValue(value: string, setting: Setting): string | undefined {
  switch (setting.vartype) {
    case 'bool':
      return isBoolean(value) ? undefined : `"${value}" is not a Boolean: write "on" or "off"`;
    case 'enum':
      return checkEnum(value, setting.enumvals ?? []);
    case 'integer':
    case 'real':
      return checkNumber(value, setting);
    case 'string':
      return undefined;
  }
}

/** PostgreSQL takes any beginning of a word that is the beginning of one word only. */
function isBoolean(value: string): boolean {
  const text = value.trim().toLowerCase();
  if (text === '') return false;
  if (['1', '0', 'on', 'off', 'of'].includes(text)) return true;
  return ['true', 'false', 'yes', 'no'].some((word) => word.startsWith(text));
}

function checkEnum(value: string, allowed: readonly string[]): string | undefined {
  const text = value.trim().toLowerCase();
  if (allowed.some((word) => word.toLowerCase() === text)) return undefined;
  // Parameters that once were Boolean still take all spellings of on and off.
  if ((allowed.includes('on') || allowed.includes('off')) && isBoolean(text)) return undefined;
  return `"${value}" is not one of ${allowed.join(', ')}`;
}

const memory: Readonly<Record<string, number>> = {
  B: 1,
  kB: 1024,
  MB: 1024 ** 2,
  GB: 1024 ** 3,
  TB: 1024 ** 4,
};
const time: Readonly<Record<string, number>> = {
  us: 0.001,
  ms: 1,
  s: 1000,
  min: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

function checkNumber(value: string, setting: Setting): string | undefined {
  const parsed = parseNumber(value, setting);
  if (parsed === 'no number') return `"${value}" is not a number${unitsOf(setting)}`;
  if (parsed === 'another unit') return `"${value}" has a unit that does not fit${unitsOf(setting)}`;
  const { exact, hasUnit } = parsed;
  const number = setting.vartype === 'integer' ? Math.round(exact) : exact;
  if (setting.vartype === 'integer' && !hasUnit && !Number.isInteger(exact) && setting.unit === null) {
    // PostgreSQL rounds it; it is hardly what was meant.
    return `"${value}" is not a whole number`;
  }
  const minimum = Number(setting.min_val);
  const maximum = Number(setting.max_val);
  if (number >= minimum && number <= maximum) return undefined;
  const unit = setting.unit === null ? '' : ` (in ${setting.unit})`;
  return `"${value}" is outside ${setting.min_val} to ${setting.max_val}${unit}`;
}

/** A number in the base unit of its parameter. */
interface ParsedNumber {
  readonly exact: number;
  readonly hasUnit: boolean;
}

function parseNumber(value: string, setting: Setting): ParsedNumber | 'no number' | 'another unit' {
  const match =
    /^\s*([-+]?(?:0x[0-9a-f]+|[0-9]*\.?[0-9]+(?:e[-+]?[0-9]+)?|[0-9]+\.))\s*([a-zA-Z]*)\s*$/i.exec(value);
  if (match === null) return 'no number';
  const factor = unitFactor(match[2] ?? '', setting.unit);
  if (factor === undefined) return 'another unit';
  return { exact: Number(match[1]) * factor, hasUnit: match[2] !== '' };
}

/**
 * Whether the server runs with those of the parameters that it takes over when it starts. Right after they were handed out it
 * does not know of them yet, and says of none that it waits for a restart.
 */
export function runsWith(
  parameters: Readonly<Record<string, string>>,
  settings: readonly Setting[],
): boolean {
  const known = new Map(settings.map((setting) => [setting.name.toLowerCase(), setting]));
  return Object.entries(parameters).every(([name, value]) => {
    const setting = known.get(name.toLowerCase());
    return setting?.context !== 'postmaster' || isInForce(value, setting);
  });
}

function isInForce(value: string, setting: Setting): boolean {
  switch (setting.vartype) {
    case 'bool':
      return booleanOf(value) === setting.setting;
    case 'enum':
      return [value.trim().toLowerCase(), booleanOf(value)].includes(setting.setting.toLowerCase());
    case 'integer':
    case 'real': {
      const parsed = parseNumber(value, setting);
      if (typeof parsed === 'string') return false;
      // Of what is not positive PostgreSQL makes a number by itself.
      return parsed.exact <= 0 || Math.abs(parsed.exact - Number(setting.setting)) < 1;
    }
    case 'string': {
      const running = wordsOf(setting.setting);
      return wordsOf(value).every((word) => running.includes(word));
    }
  }
}

/** A Boolean as the server shows it. */
function booleanOf(value: string): 'on' | 'off' | undefined {
  if (!isBoolean(value)) return undefined;
  const text = value.trim().toLowerCase();
  return ['1', 'on'].includes(text) || /^[ty]/.test(text) ? 'on' : 'off';
}

function wordsOf(list: string): string[] {
  return list.split(',').map((word) => word.trim().replaceAll('"', ''));
}

/** What a number with a unit has to be multiplied by to be in the parameter's base unit. */
function unitFactor(unit: string, base: string | null): number | undefined {
  if (unit === '') return 1;
  const parts = /^([0-9]*)([a-zA-Z]+)$/.exec(base ?? '');
  if (parts === null) return undefined;
  const name = parts[2] ?? '';
  const table = name in memory ? memory : time;
  const from = table[unit];
  const to = table[name];
  return from === undefined || to === undefined ? undefined : from / (to * Number(parts[1] || 1));
}

function unitsOf(setting: Setting): string {
  if (setting.unit === null) return ': it has no unit';
  const name = setting.unit.replace(/^[0-9]+/, '');
  return `: its units are ${Object.keys(name in memory ? memory : time).join(', ')} (without one: ${setting.unit})`;
}

function nearest(name: string, candidates: readonly string[]): string | undefined {
  const limit = Math.max(2, Math.floor(name.length / 4));
  const best = candidates
    .map((candidate) => ({ candidate, distance: editDistance(name, candidate) }))
    .sort((a, b) => a.distance - b.distance)[0];
  return best !== undefined && best.distance <= limit ? best.candidate : undefined;
}

/** Number of letters to change, add or remove to make one word of the other. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const replace = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replace, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
