/** Lists as tables, whole or page by page. */

import type { UseInfiniteQueryResult } from "@tanstack/react-query";
import type { ReactNode } from "react";

import { useTexts } from "../texts/language";
import { Empty, Loaded } from "./states";

/** Most columns that a phone has room for; a table with more is scrolled sideways. */
const COLUMNS_NARROW_MAX = 4;

interface ListProps<Row> {
  readonly heads: readonly string[];
  readonly rows: readonly Row[];
  readonly rowKey: (row: Row) => string;
  readonly cells: (row: Row) => readonly ReactNode[];
  readonly empty: string;
}

/** Rows under their heads; `empty` says that there are none. */
export function List<Row>({ heads, rows, rowKey, cells, empty }: ListProps<Row>) {
  if (rows.length === 0) return <Empty>{empty}</Empty>;
  return (
    <div className="scroll">
      <table className={heads.length > COLUMNS_NARROW_MAX ? "wide" : undefined}>
        <thead>
          <tr>
            {heads.map((head) => (
              <th key={head} scope="col">
                {head}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={rowKey(row)}>
              {cells(row).map((cell, index) => (
                <td key={heads[index]}>{cell}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

interface Pages<Row> {
  readonly pages: readonly { readonly items: readonly Row[] }[];
}

/** A list that comes in pages, with a button for the next one. */
export function PagedList<Row>({ query, ...list }: Omit<ListProps<Row>, "rows"> & { query: UseInfiniteQueryResult<Pages<Row>> }) {
  const texts = useTexts();
  return (
    <Loaded query={query}>
      {({ pages }) => (
        <>
          <List {...list} rows={pages.flatMap((page) => page.items)} />
          {query.hasNextPage && (
            <div>
              <button
                type="button"
                aria-disabled={query.isFetchingNextPage}
                onClick={() => !query.isFetchingNextPage && void query.fetchNextPage()}
              >
                {texts.more}
              </button>
            </div>
          )}
        </>
      )}
    </Loaded>
  );
}
