/** Whether the server has newer pages than the ones that a tab runs. */

/** Whether a page that was just loaded would run another script than this one. */
export function isOutdated(page: string, script: string): boolean {
  // Anything that is no page of ours, such as a proxy's, says nothing.
  return script !== "" && page.includes('id="root"') && !page.includes(`"${script}"`);
}
