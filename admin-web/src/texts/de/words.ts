/** Words of the server in German. */

/** What a word is in German; one that is not in the list stays as it is. */
export function words(german: Readonly<Record<string, string>>): (word: string) => string {
  const known = new Map(Object.entries(german));
  return (word) => known.get(word) ?? word;
}
