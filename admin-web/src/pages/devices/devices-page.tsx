/** Every device, filtered by the server. */

import { useInfiniteQuery } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { useEffect, useMemo } from "react";

import { devicesQuery } from "../../api/queries";
import { PageHead } from "../../components/page-head";
import { Empty, Failed, Waiting } from "../../components/states";
import { count } from "../../format/number";
import { useLanguage } from "../../texts/language";
import { DeviceTable } from "./device-table";
import { Filters } from "./filters";

const route = getRouteApi("/devices");

export function DevicesPage() {
  const { texts, locale } = useLanguage();
  const filter = route.useSearch();
  const { data, error, hasNextPage, isFetchingNextPage, isPlaceholderData, fetchNextPage, refetch } = useInfiniteQuery(
    devicesQuery(filter),
  );
  const devices = useMemo(() => data?.pages.flatMap((page) => page.items) ?? [], [data]);

  // A page of a filter that the server applies while it scans may be empty: then the next one has the answer.
  const isSearching = devices.length === 0 && hasNextPage;
  useEffect(() => {
    if (isSearching && !isFetchingNextPage && !error) void fetchNextPage();
  }, [isSearching, isFetchingNextPage, error, fetchNextPage]);

  const shown = count(devices.length, locale);
  const total = hasNextPage ? texts.devices.loaded(devices.length, shown) : texts.devices.loadedAll(devices.length, shown);
  return (
    <>
      <PageHead title={texts.devices.title} aside={<span role="status">{data && total}</span>} />
      <Filters filter={filter} />
      {error && <Failed error={error} retry={() => refetch()} />}
      {!data && !error && <Waiting />}
      {data && devices.length === 0 && (isSearching ? <Waiting /> : <NoDevices isFiltered={Object.keys(filter).length > 0} />)}
      {devices.length > 0 && (
        <DeviceTable
          devices={devices}
          isBusy={isPlaceholderData || isFetchingNextPage}
          loadMore={hasNextPage && !isFetchingNextPage && !error ? fetchNextPage : undefined}
        />
      )}
    </>
  );
}

function NoDevices({ isFiltered }: { isFiltered: boolean }) {
  const { texts } = useLanguage();
  return (
    <div className="panel">
      <Empty>{isFiltered ? texts.devices.noMatch : texts.devices.empty}</Empty>
    </div>
  );
}
