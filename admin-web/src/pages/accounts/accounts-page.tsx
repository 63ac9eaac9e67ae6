/** Who may do what here: users, tokens of scripts, and sessions. */

import { getRouteApi, useNavigate } from "@tanstack/react-router";
import type { ReactNode } from "react";
import { Tab, TabList, TabPanel, Tabs } from "react-aria-components";

import { PageHead } from "../../components/page-head";
import { useTexts } from "../../texts/language";
import { type AccountsTab, TABS } from "./tab";
import { Sessions, Tokens } from "./tokens";
import { Users } from "./users";

const route = getRouteApi("/users");

const CONTENTS: Record<AccountsTab, () => ReactNode> = {
  users: () => <Users />,
  tokens: () => <Tokens />,
  sessions: () => <Sessions />,
};

export function AccountsPage() {
  const texts = useTexts().accounts;
  const navigate = useNavigate();
  const { tab = "users" } = route.useSearch();
  const choose = (tab: AccountsTab) => void navigate({ to: "/users", search: { tab }, replace: true, resetScroll: false });
  return (
    <>
      <PageHead title={texts.about} />
      <Tabs className="panel tabs" selectedKey={tab} onSelectionChange={(key) => choose(key as AccountsTab)}>
        <TabList aria-label={texts.about}>
          {TABS.map((name) => (
            <Tab key={name} id={name}>
              {texts.tabs[name]}
            </Tab>
          ))}
        </TabList>
        {TABS.map((name) => (
          <TabPanel key={name} id={name}>
            {CONTENTS[name]()}
          </TabPanel>
        ))}
      </Tabs>
    </>
  );
}
