/** The summary of a run that was dropped onto the page, as its file or within its folder. */

const SUMMARY = "summary.json";

/** The text of the summary; none if there is no such file. Has to be called while the event is handled. */
export async function droppedSummary(dropped: DataTransfer): Promise<string | undefined> {
  const entry = dropped.items[0]?.webkitGetAsEntry?.() ?? null;
  const file = dropped.files[0];
  if (entry?.isDirectory) {
    const folder = entry as FileSystemDirectoryEntry;
    const found = await new Promise<FileSystemEntry>((resolve, reject) => folder.getFile(SUMMARY, {}, resolve, reject));
    const summary = await new Promise<File>((resolve, reject) => (found as FileSystemFileEntry).file(resolve, reject));
    return summary.text();
  }
  return file?.text();
}
