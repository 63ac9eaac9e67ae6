/** How many devices a change of the limits concerns. */

import { useQuery } from "@tanstack/react-query";

import { presenceQuery } from "../../api/queries";
import { count } from "../../format/number";
import { registered } from "../../format/presence";
import { useLanguage } from "../../texts/language";

export function Concerned() {
  const { texts, locale } = useLanguage();
  const { data } = useQuery(presenceQuery);
  const devices = data && registered(data.total);
  return <p>{devices === undefined ? texts.loading : texts.limits.concerned(devices, count(devices, locale))}</p>;
}
