/** What is typed for a release that the server signs, as the API takes it. */

import type { Release, ReleaseFields } from "../../api/types";

export interface Typed {
  readonly release_id: string;
  readonly version: string;
  readonly counter: string;
  readonly models: string;
  readonly product: string;
  readonly min_counter: string;
  readonly valid_days: string;
}

/** The highest counter of these releases; 0 without any. */
export function newestCounter(releases: readonly Pick<Release, "release_counter">[]): number {
  return releases.reduce((most, { release_counter }) => Math.max(most, release_counter), 0);
}

const lines = (typed: string) => [...new Set(typed.split(/[\n,]/).map((line) => line.trim()).filter((line) => line !== ""))];

/** What is wrong with the values is the API's to say. */
export function releaseFields(typed: Typed, sha256: string): ReleaseFields {
  return {
    release_id: typed.release_id.trim(),
    version: typed.version.trim(),
    release_counter: Number(typed.counter),
    models: lines(typed.models),
    product: typed.product.trim(),
    sha256,
    min_counter: typed.min_counter === "" ? null : Number(typed.min_counter),
    not_before: null,
    valid_days: Number(typed.valid_days),
  };
}
