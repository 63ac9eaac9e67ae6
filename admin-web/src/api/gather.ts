/** Rows of a list whose pages may be empty, because the server filters while it reads. */

interface Page<Row> {
  readonly items: readonly Row[];
  readonly next_cursor?: string | null;
}

/** The first rows, from as many pages as that takes, but not more than so many. */
export async function gather<Row>(
  ask: (from: { cursor?: string }) => Promise<Page<Row>>,
  enough: { readonly rows: number; readonly pages: number },
): Promise<{ readonly rows: Row[]; readonly pages: number }> {
  const rows: Row[] = [];
  let cursor: string | undefined;
  let pages = 0;
  do {
    const page = await ask(cursor === undefined ? {} : { cursor });
    rows.push(...page.items);
    cursor = page.next_cursor ?? undefined;
    pages += 1;
  } while (cursor !== undefined && rows.length < enough.rows && pages < enough.pages);
  return { rows, pages };
}
