/**
 * Where the keyboard goes when the thing that it was on goes away, such as the button of an order that was given: to what held it.
 * A browser would begin again at the head of the document, and a screen reader would say nothing.
 */

import { useRouterState } from "@tanstack/react-router";
import { type RefObject, useEffect, useRef } from "react";

/** An element with all that hold it, the innermost first. */
function pathOf(element: Element | null): Element[] {
  const path: Element[] = [];
  for (let at = element; at; at = at.parentElement) path.push(at);
  return path;
}

/** What had the focus, if it is still there, or the innermost thing around it that is and takes the focus. */
function stillThere(path: readonly Element[]): HTMLElement | undefined {
  const takesFocus = (element: Element, depth: number) => depth === 0 || element.hasAttribute("tabindex");
  return path.find((element, depth) => element.isConnected && takesFocus(element, depth)) as HTMLElement | undefined;
}

export function useKeptFocus(main: RefObject<HTMLElement | null>): void {
  useEffect(() => keepFocus(main), [main]);
  // A page that was opened from the navigation, or by "back", is read from its head.
  const path = useRouterState({ select: (state) => state.resolvedLocation?.pathname });
  const known = useRef(path);
  useEffect(() => {
    const isFirst = known.current === undefined;
    if (known.current === path) return;
    known.current = path;
    if (!isFirst && !main.current?.contains(document.activeElement)) main.current?.focus({ preventScroll: true });
  }, [path, main]);
}

function keepFocus(main: RefObject<HTMLElement | null>): () => void {
  let last: readonly Element[] = [];
  /** The last one in the page: what a dialog over it was opened from. */
  let lastInPage: readonly Element[] = [];
  let frame = 0;
  const check = () => {
    const isLost = last[0]?.isConnected === false && document.activeElement === document.body;
    if (isLost) (stillThere(last) ?? stillThere(lastInPage) ?? main.current)?.focus({ preventScroll: true });
  };
  // A dialog that closes gives the focus back by itself, in the next frame.
  const later = () => {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(() => {
      frame = requestAnimationFrame(check);
    });
  };
  const remember = ({ target }: FocusEvent) => {
    last = pathOf(target as Element);
    if (main.current?.contains(target as Element)) lastInPage = last;
  };
  /** Who clicks beside everything means nothing. */
  const forget = () => {
    last = [];
  };
  const observer = new MutationObserver(() => {
    if (last[0]?.isConnected === false) later();
  });
  observer.observe(document.body, { childList: true, subtree: true });
  document.addEventListener("focusin", remember);
  document.addEventListener("pointerdown", forget);
  return () => {
    cancelAnimationFrame(frame);
    observer.disconnect();
    document.removeEventListener("focusin", remember);
    document.removeEventListener("pointerdown", forget);
  };
}
