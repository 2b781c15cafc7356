import { readBoundProblems } from '../../postgres/bound-problems.ts';
import { readCatalog } from '../../postgres/catalog.ts';
import type { Connection, ConnectOptions } from '../../postgres/connection.ts';
import type { Connections } from '../../postgres/connections.ts';
import { type Holdings, readHoldings } from '../../postgres/holdings.ts';
import { isLocked } from '../../postgres/lock-wait.ts';
import {
  checkParameters,
  probeParameters,
  readRefusedSettings,
  readSettings,
  runsWith,
} from '../../postgres/parameters.ts';
import { readShardStats } from '../../postgres/stats.ts';
import { type Reading, readingOf } from '../../runtime/reading.ts';
import type { Group } from '../../sharding/layout.ts';
import type { DatabaseFacts } from './database-facts.ts';

/** What is asked of a primary. */
export interface DatabaseQuestion {
  /** Pod name of the member that is asked. */
  readonly member: string;
  /** Session in the application database, or in `postgres` while that is not there. */
  readonly options: ConnectOptions;
  readonly isSetUp: boolean;
  /** The user's parameters, when they have to be checked, and a session in `postgres` for that. */
  readonly parameters:
    | { readonly wanted: Readonly<Record<string, string>>; readonly options: ConnectOptions }
    | undefined;
  /** Groups that have no buckets yet. */
  readonly newGroups: readonly Group[];
  /** What is known of the catalog already, and still good. */
  readonly remembered: DatabaseContent | undefined;
  /** What stands in for it while somebody holds tables so that they cannot be looked at. */
  readonly ifLocked: DatabaseContent | undefined;
}

/** What is in the databases of a shard. */
export type DatabaseContent = Pick<DatabaseFacts, 'catalog' | 'boundProblems' | keyof Holdings>;
type Verdict = Pick<DatabaseFacts, 'parameterProblems' | 'runsWithParameters' | 'fileErrors'>;
const nothing: DatabaseContent = {
  catalog: undefined,
  boundProblems: [],
  tablesWithRows: [],
  otherDatabases: [],
  preparedTransactions: 0,
};

/** Asks the primary of a shard; `unknown` when it does not answer. */
export async function readDatabase(
  connections: Connections,
  question: DatabaseQuestion,
): Promise<Reading<DatabaseFacts>> {
  const { parameters } = question;
  return readingOf(async () => {
    const facts = await connections.use(question.options, (connection) => ask(connection, question));
    if (parameters === undefined)
      return { ...facts, parameterProblems: [], runsWithParameters: true, fileErrors: [] };
    const verdict = await connections.use(parameters.options, (connection) =>
      judge(connection, parameters.wanted),
    );
    return { ...facts, ...verdict };
  });
}

async function ask(
  connection: Connection,
  question: DatabaseQuestion,
): Promise<Omit<DatabaseFacts, keyof Verdict>> {
  const stats = await readShardStats(connection);
  if (stats.inRecovery) throw new Error(`member ${question.member} is not the primary any more`);
  const content = question.isSetUp
    ? (question.remembered ?? (await readContent(connection, question)))
    : nothing;
  const { catalog, boundProblems, tablesWithRows, otherDatabases, preparedTransactions } = content;
  return {
    member: question.member,
    isSetUp: question.isSetUp,
    catalog,
    boundProblems,
    tablesWithRows,
    otherDatabases,
    preparedTransactions,
    stats,
  };
}

/** What the server has against parameters, before it is given them and after. */
async function judge(connection: Connection, wanted: Readonly<Record<string, string>>): Promise<Verdict> {
  const settings = await readSettings(connection);
  const problems = checkParameters(wanted, settings);
  const refused = await readRefusedSettings(connection);
  return {
    parameterProblems: problems.length > 0 ? problems : await probeParameters(connection, wanted, settings),
    runsWithParameters: runsWith(wanted, settings),
    fileErrors: refused === 'unknown' ? [] : refused.map(({ name, error }) => `${name}: ${error}`),
  };
}

async function readContent(
  connection: Connection,
  { newGroups, ifLocked = nothing }: DatabaseQuestion,
): Promise<DatabaseContent> {
  try {
    return {
      catalog: await readCatalog(connection),
      boundProblems: await readBoundProblems(connection, newGroups),
      ...(await readHoldings(connection)),
    };
  } catch (error) {
    if (isLocked(error)) return ifLocked;
    throw error;
  }
}
