/** A person who has a keyboard and no mouse: goes from one thing to the next, and always sees where they are. */

import type { Locator, Page } from "playwright-core";

/** Stops before something counts as out of reach. */
const STOPS_MAX = 90;

/** Where the focus is. */
interface Stop {
  readonly name: string;
  /** What is wrong with it; empty if nothing is. */
  readonly wrong: string;
}

/** Runs in the browser. */
function look(): Stop {
  const at = document.activeElement;
  if (at === null || at === document.body) return { name: "nothing", wrong: "the focus is lost" };
  const labels = (at as HTMLInputElement).labels;
  const said = at.getAttribute("aria-label") ?? labels?.[0]?.textContent ?? at.textContent ?? "";
  const name = `${at.getAttribute("role") ?? at.tagName.toLowerCase()} ${said.replace(/\s+/g, " ").trim().slice(0, 60)}`;
  const { outlineStyle, outlineWidth } = getComputedStyle(at);
  if (outlineStyle === "none" || Number.parseFloat(outlineWidth) === 0) return { name, wrong: "nothing shows the focus" };
  const box = at.getBoundingClientRect();
  const [left, right] = [Math.max(box.left, 0), Math.min(box.right, window.innerWidth)];
  const [top, bottom] = [Math.max(box.top, 0), Math.min(box.bottom, window.innerHeight)];
  if (left >= right || top >= bottom) return { name, wrong: "it is out of view" };
  const seen = document.elementFromPoint((left + right) / 2, (top + bottom) / 2);
  const isCovered = seen !== null && !at.contains(seen) && !seen.contains(at);
  return { name, wrong: isCovered ? `${seen.tagName} lies over it` : "" };
}

export class Keyboard {
  /** All stops so far, for a test that fails. */
  readonly stops: string[] = [];
  /** Stops at which a person is lost. */
  readonly wrong: string[] = [];

  constructor(readonly page: Page) {}

  async #note(): Promise<Stop> {
    const stop = await this.page.evaluate(look);
    this.stops.push(`${stop.name}${stop.wrong === "" ? "" : ` [${stop.wrong}]`}`);
    if (stop.wrong !== "") this.wrong.push(`${new URL(this.page.url()).pathname}: ${stop.name}: ${stop.wrong}`);
    return stop;
  }

  async press(key: string): Promise<void> {
    await this.page.keyboard.press(key);
  }

  async type(text: string): Promise<void> {
    await this.page.keyboard.type(text);
  }

  /** Whether the focus is on this. */
  async isOn(target: Locator): Promise<boolean> {
    if ((await target.count()) !== 1) return false;
    return target.evaluate((element) => element === document.activeElement);
  }

  /** Goes on with Tab until it is there; the other way round with `Shift+Tab`. */
  async to(target: Locator, key = "Tab"): Promise<void> {
    await target.waitFor();
    const from = this.stops.length;
    for (let stop = 0; stop < STOPS_MAX; stop += 1) {
      if (await this.isOn(target)) return;
      await this.press(key);
      await this.#note();
    }
    throw new Error(`${target} is out of reach: ${this.stops.slice(from).join(" → ")}`);
  }

  /** Waits until the focus has come here by itself, such as into a dialog, or back to what has opened it. */
  async arrives(target: Locator): Promise<void> {
    const isThere = (element: Element) => element === document.activeElement;
    for (let asked = 0; asked < 200; asked += 1) {
      if ((await target.count()) === 1 && (await target.evaluate(isThere))) {
        await this.#note();
        return;
      }
      await this.page.waitForTimeout(50);
    }
    throw new Error(`the focus did not come to ${target}, but is on ${(await this.page.evaluate(look)).name}`);
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
