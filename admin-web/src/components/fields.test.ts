import { createElement } from "react";
import { renderToStaticMarkup } from "react-dom/server";
import { describe, expect, it } from "vitest";

import { ChoiceField } from "./fields";

const drawn = (value: string) =>
  renderToStaticMarkup(
    createElement(ChoiceField, { name: "Release", value, options: [["", "choose…"], ["fw-2", "fw-2 (2.0)"]], onChoose: () => undefined }),
  );

describe("a choice", () => {
  it("shows the value that it has, also one that is not offered, such as a draft that an address names", () => {
    expect(drawn("fw-2")).toContain('<option value="fw-2" selected="">fw-2 (2.0)</option>');
    expect(drawn("fw-2").match(/<option/g)).toHaveLength(2);
    expect(drawn("fw-1")).toContain('<option value="fw-1" selected="">fw-1</option>');
  });
});
