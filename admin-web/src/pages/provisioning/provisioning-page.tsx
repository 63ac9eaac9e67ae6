/** Provisioning: inventories in and out, and tokens for the first registration. */

import { PageHead } from "../../components/page-head";
import { useTexts } from "../../texts/language";
import { ExportPanel } from "./export-panel";
import { ImportPanel } from "./import-panel";
import { OtrtPanel } from "./otrt-panel";

export function ProvisioningPage() {
  const texts = useTexts();
  return (
    <>
      <PageHead title={texts.provisioning.title} />
      <ImportPanel />
      <OtrtPanel />
      <ExportPanel />
    </>
  );
}
