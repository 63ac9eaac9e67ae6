/** A role, with what it may do. */

import type { Role } from "../../api/types";
import { ChoiceField } from "../../components/fields";
import { useTexts } from "../../texts/language";

const ROLES: readonly Role[] = ["viewer", "operator", "release_manager", "factory", "admin"];

export function RoleField({ role, onChoose }: { role: Role; onChoose: (role: Role) => void }) {
  const texts = useTexts();
  return (
    <ChoiceField
      name={texts.accounts.role}
      hint={texts.accounts.may[role]}
      value={role}
      options={ROLES.map((role) => [role, texts.roles[role]] as const)}
      onChoose={onChoose}
    />
  );
}
