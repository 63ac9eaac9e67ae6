/** The language of the page: the one that was chosen, else the browser's, else English. */

import { createContext, type ReactNode, use, useEffect, useMemo, useState } from "react";

import { en, type Texts } from "./en";

export const LANGUAGES = { en: "English", de: "Deutsch" } as const;
export type Language = keyof typeof LANGUAGES;

const CHOICE = "ks-language";

/** The first language of these that there is. */
export function pick(wanted: readonly string[]): Language {
  for (const tag of wanted) {
    const language = tag.slice(0, 2).toLowerCase();
    if (language in LANGUAGES) return language as Language;
  }
  return "en";
}

function first(): Language {
  const chosen = window.localStorage.getItem(CHOICE);
  return pick(chosen === null ? navigator.languages : [chosen]);
}

interface Spoken {
  readonly language: Language;
  /** For numbers and dates: the browser's variant of the language, such as en-GB. */
  readonly locale: string;
  readonly texts: Texts;
  readonly choose: (language: Language) => void;
}

const Context = createContext<Spoken | undefined>(undefined);

/** Loads the texts of the language; English is always there, and stays until the others are. */
export function LanguageProvider({ children }: { children: ReactNode }) {
  const [language, setLanguage] = useState(first);
  const [texts, setTexts] = useState<Texts | undefined>(language === "en" ? en : undefined);

  useEffect(() => {
    let isCurrent = true;
    const loaded = language === "en" ? Promise.resolve(en) : import("./de").then(({ de }) => de);
    loaded.then(
      (texts) => isCurrent && setTexts(texts),
      () => isCurrent && setTexts(en),
    );
    document.documentElement.lang = language;
    return () => {
      isCurrent = false;
    };
  }, [language]);

  const spoken = useMemo(() => {
    const locale = navigator.languages.find((tag) => pick([tag]) === language && tag.startsWith(language)) ?? language;
    const choose = (chosen: Language) => {
      window.localStorage.setItem(CHOICE, chosen);
      setLanguage(chosen);
    };
    return texts && { language, locale, texts, choose };
  }, [language, texts]);

  return spoken && <Context value={spoken}>{children}</Context>;
}

export function useLanguage(): Spoken {
  const spoken = use(Context);
  if (!spoken) throw new Error("useLanguage outside of LanguageProvider");
  return spoken;
}

export function useTexts(): Texts {
  return useLanguage().texts;
}
