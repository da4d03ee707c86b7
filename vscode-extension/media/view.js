// What a view does in its webview: tell the extension which button was pressed, filter and sort
// the table of decisions, and let the keyboard reach what scrolls. It makes no markup.

const vscode = acquireVsCodeApi();

/** Return what a button asks of the extension, if it asks anything. */
function message({ open, line, explain, command, copy, days }) {
  if (open !== undefined) return { type: "open", uri: open, line: Number(line) };
  if (explain !== undefined) return { type: "explain", id: explain };
  if (command !== undefined) return { type: "command", command };
  if (copy !== undefined) return { type: "copy", text: copy };
  if (days !== undefined) return { type: "days", days: Number(days) };
  return undefined;
}

document.addEventListener("click", ({ target }) => {
  const button = target.closest("button");
  const asked = button && message(button.dataset);
  if (asked) vscode.postMessage(asked);
  else if (button?.matches(".sort")) sort(button.closest("th"));
});

const table = document.querySelector("#decisions");
const filter = document.querySelector("#filter");

filter?.addEventListener("input", () => {
  const wanted = filter.value.trim().toLowerCase();
  const rows = [...table.tBodies[0].rows];
  for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  const shown = rows.filter((row) => !row.hidden).length;
  document.querySelector("#count").textContent = `${shown} of ${rows.length} decisions`;
});

/** Sort the decisions by a column, and the other way round if they are sorted by it already. */
function sort(heading) {
  const descending = heading.ariaSort === "ascending";
  for (const other of table.tHead.rows[0].cells) other.ariaSort = null;
  heading.ariaSort = descending ? "descending" : "ascending";
  const value = (row) => row.cells[heading.cellIndex].dataset.value ?? row.cells[heading.cellIndex].textContent;
  const compare = new Intl.Collator(undefined, { numeric: true }).compare;
  const rows = [...table.tBodies[0].rows].sort((a, b) => compare(value(a), value(b)));
  table.tBodies[0].append(...(descending ? rows.reverse() : rows));
}

const sizes = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
    else target.removeAttribute("tabindex");
  }
});
for (const region of document.querySelectorAll(".scroll")) sizes.observe(region);
