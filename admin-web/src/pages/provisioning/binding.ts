/** Who may use a one-time registration token. */

import type { CreatedOtrts } from "../../api/types";

export type Binding = "any" | "device" | "model";

/** New tokens, with what they were made for. */
export interface MadeTokens extends CreatedOtrts {
  readonly binding: Binding;
  readonly name: string;
}

/** As the API has it. */
export function bindingOf(binding: Binding, name: string): { device_id?: string; model?: string } {
  switch (binding) {
    case "any":
      return {};
    case "device":
      return { device_id: name.trim() };
    case "model":
      return { model: name.trim() };
  }
}
