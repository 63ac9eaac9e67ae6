/** A person who has a keyboard and no mouse: goes from one thing to the next, and always sees where they are. */

import type { Locator, Page } from "playwright-core";
import { expect } from "vitest";

/** Stops before something counts as out of reach. */
const STOPS_MAX = 90;

/** Where the focus is. */
interface Stop {
  readonly name: string;
  readonly isTarget: boolean;
  /** What is wrong with it; empty if nothing is. */
  readonly wrong: string;
}

/** Runs in the browser. */
function look(target: Element): Stop {
  const at = document.activeElement;
  const isTarget = at === target;
  if (at === null || at === document.body) return { name: "nothing", isTarget, wrong: "the focus is lost" };
  const labels = (at as HTMLInputElement).labels;
  const said = at.getAttribute("aria-label") ?? labels?.[0]?.textContent ?? at.textContent ?? "";
  const name = `${at.getAttribute("role") ?? at.tagName.toLowerCase()} ${said.replace(/\s+/g, " ").trim().slice(0, 60)}`;
  const { outlineStyle, outlineWidth } = getComputedStyle(at);
  const isShown = outlineStyle !== "none" && Number.parseFloat(outlineWidth) > 0;
  if (!isShown) return { name, isTarget, wrong: "nothing shows the focus" };
  const box = at.getBoundingClientRect();
  const [left, right] = [Math.max(box.left, 0), Math.min(box.right, window.innerWidth)];
  const [top, bottom] = [Math.max(box.top, 0), Math.min(box.bottom, window.innerHeight)];
  if (left >= right || top >= bottom) return { name, isTarget, wrong: "it is out of view" };
  const seen = document.elementFromPoint((left + right) / 2, (top + bottom) / 2);
  const isCovered = seen !== null && !at.contains(seen) && !seen.contains(at);
  return { name, isTarget, wrong: isCovered ? `${seen.tagName} lies over it` : "" };
}

export class Keyboard {
  /** All stops so far, for a test that fails. */
  readonly stops: string[] = [];
  /** Stops at which a person is lost. */
  readonly wrong: string[] = [];

  constructor(readonly page: Page) {}

  #note({ name, wrong }: Stop): void {
    this.stops.push(wrong === "" ? name : `${name} [${wrong}]`);
    if (wrong !== "") this.wrong.push(`${new URL(this.page.url()).pathname}: ${name}: ${wrong}`);
  }

  async press(key: string): Promise<void> {
    await this.page.keyboard.press(key);
  }

  async type(text: string): Promise<void> {
    await this.page.keyboard.type(text);
  }

  /** Goes on with Tab until it is there; the other way round with `Shift+Tab`. */
  async to(target: Locator, key = "Tab"): Promise<void> {
    const from = this.stops.length;
    let stop = await target.evaluate(look);
    for (let pressed = 0; !stop.isTarget; pressed += 1) {
      if (pressed === STOPS_MAX) throw new Error(`${target} is out of reach: ${this.stops.slice(from).join(" → ")}`);
      await this.press(key);
      stop = await target.evaluate(look);
      this.#note(stop);
    }
  }

  /** Waits until the focus has come here by itself, such as into a dialog, or back to what has opened it. */
  async arrives(target: Locator): Promise<void> {
    await expect.poll(async () => (await target.evaluate(look)).isTarget, { message: `the focus comes to ${target}` }).toBe(true);
    this.#note(await target.evaluate(look));
  }

  async activate(target: Locator, key = "Enter"): Promise<void> {
    await this.to(target);
    await this.press(key);
  }

  /** Types over what a field has. */
  async fill(target: Locator, text: string): Promise<void> {
    await this.to(target);
    await this.press("Control+A");
    await this.type(text);
  }

  /** Chooses in a list by the first letters of what is chosen. */
  async choose(target: Locator, letters: string): Promise<void> {
    await this.to(target);
    await this.type(letters);
  }
}
