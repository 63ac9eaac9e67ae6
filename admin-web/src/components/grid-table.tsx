/** A table of very many rows: a table by its roles, of which only the rows in view exist. */

import { useVirtualizer } from "@tanstack/react-virtual";
import { memo, type ReactNode, useEffect, useRef, useState } from "react";

export interface Column<Row> {
  readonly name: string;
  readonly cell: (row: Row) => ReactNode;
}

interface GridTableProps<Row> {
  readonly name: string;
  readonly columns: readonly Column<Row>[];
  /** Class with the widths of the columns. */
  readonly layout: string;
  readonly rows: readonly Row[];
  readonly rowKey: (row: Row) => string;
  readonly isBusy: boolean;
  readonly busyText: string;
  /** None when there are no more. */
  readonly loadMore: (() => unknown) | undefined;
}

/** Height of a row, as in tables.css: 2.3 rem. */
const ROW_REM = 2.3;
/** Rows beyond those in view. */
const BEYOND = 12;
/** Rows before the end at which the next page is loaded. */
const LOAD_BEFORE_END = 200;

function rowHeight(): number {
  return ROW_REM * Number.parseFloat(getComputedStyle(document.documentElement).fontSize);
}

export function GridTable<Row>(props: GridTableProps<Row>) {
  const { name, columns, layout, rows, rowKey, isBusy, busyText, loadMore } = props;
  const scroller = useRef<HTMLDivElement>(null);
  // Both are asked for each of the rows, not only for those in view: the height is read once, and rows are known by their number, since
  // a function that changes would place 100,000 rows again at each step of a scroll.
  const [height] = useState(rowHeight);
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => height,
    overscan: BEYOND,
  });
  const items = virtual.getVirtualItems();
  const last = items.at(-1)?.index ?? 0;
  useEffect(() => {
    if (loadMore && last >= rows.length - LOAD_BEFORE_END) loadMore();
  }, [last, rows.length, loadMore]);

  return (
    <>
      <div
        ref={scroller}
        className={`grid-table ${layout}`}
        role="table"
        aria-label={name}
        aria-rowcount={loadMore ? -1 : rows.length + 1}
        aria-busy={isBusy}
        tabIndex={0}
      >
        <div role="rowgroup" className="grid-head">
          <div role="row" className="grid-row" aria-rowindex={1}>
            {columns.map((column) => (
              <div role="columnheader" className="grid-cell" key={column.name}>
                {column.name}
              </div>
            ))}
          </div>
        </div>
        <div role="rowgroup" className="grid-body" style={{ height: virtual.getTotalSize() }}>
          {items.map((item) => {
            const row = rows[item.index];
            if (row === undefined) return null;
            return <GridRow key={rowKey(row)} row={row} columns={columns} index={item.index} start={item.start} />;
          })}
        </div>
      </div>
      <p className="soft" role="status">
        {isBusy && busyText}
      </p>
    </>
  );
}

interface GridRowProps<Row> {
  readonly row: Row;
  readonly columns: readonly Column<Row>[];
  readonly index: number;
  /** Where it begins, in pixels. */
  readonly start: number;
}

/** A row, which stays as it is while others come into view. */
const GridRow = memo(function GridRow<Row>({ row, columns, index, start }: GridRowProps<Row>) {
  return (
    <div role="row" className="grid-row" aria-rowindex={index + 2} style={{ transform: `translateY(${start}px)` }}>
      {columns.map((column) => (
        <div role="cell" className="grid-cell" key={column.name}>
          {column.cell(row)}
        </div>
      ))}
    </div>
  );
}) as <Row>(props: GridRowProps<Row>) => ReactNode;
