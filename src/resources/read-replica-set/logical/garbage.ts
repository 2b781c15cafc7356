import { definitionOf, type ModelTable } from '../../../postgres/read-model/definition.ts';
import { parseName, publicationName } from '../../../postgres/read-model/names.ts';
import type { ModelMember, ModelSource } from './model.ts';

/** Tells of a name in a shard's database whether the set needs it no longer. What a silent member needs is unknown, and stays. */
export function isGarbage(
  set: string,
  tables: readonly ModelTable[],
  members: readonly ModelMember[],
): (name: string) => boolean {
  const kept = new Set([publicationName(set, definitionOf(tables))]);
  const unknown = new Set<number>();
  for (const { replica, facts } of members) {
    if (facts.state !== 'present') unknown.add(replica.ordinal);
    else if (facts.value.copy !== undefined) {
      kept.add(facts.value.copy.name);
      kept.add(publicationName(set, facts.value.copy.definition));
    }
  }
  return (name) => {
    const parsed = parseName(name);
    if (parsed === undefined || parsed.set !== set || kept.has(name)) return false;
    return parsed.ordinal === undefined ? unknown.size === 0 : !unknown.has(parsed.ordinal);
  };
}

/** What was seen on a shard that the set needs no longer, by name; what has come since then nobody has judged. */
export function garbageOn({ facts }: ModelSource, isOver: (name: string) => boolean): ReadonlySet<string> {
  if (facts.state !== 'present') return new Set();
  const { publications, slots, roles } = facts.value;
  return new Set([...publications, ...slots.map(({ name }) => name), ...roles].filter(isOver));
}
