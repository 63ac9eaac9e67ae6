/** The app: its language, its queries, who is logged in, and then its pages. */

import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";

import { ApiProblem } from "../api/problem";
import { LanguageProvider } from "../texts/language";
import { router } from "./router";
import { SessionGate } from "./session-gate";

/** How often a query that may pass is tried again before the page shows its failure. */
const RETRIES_MAX = 2;

const queryClient = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 2_000,
      // Whether the server answers is found by asking: a browser knows only whether it has some network.
      networkMode: "always",
      retry: (failures, error) => failures < RETRIES_MAX && error instanceof ApiProblem && error.isPassing,
      refetchOnWindowFocus: true,
    },
    // Without a network it fails at once, instead of being made later, when nobody looks.
    mutations: { networkMode: "always" },
  },
});

export function App() {
  return (
    <LanguageProvider>
      <QueryClientProvider client={queryClient}>
        <SessionGate>
          <RouterProvider router={router} />
        </SessionGate>
      </QueryClientProvider>
    </LanguageProvider>
  );
}
