"use strict";
// Tables that are sorted by the button in a column's head, and searched by a field above them.

function make(name, attributes, ...content) {
  // All text comes in as text nodes or attributes: nothing in it is markup.
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...content);
  return made;
}

function cellValue(row, column) {
  const cell = row.cells[column];
  const number = cell.getAttribute("data-value");
  if (number !== null && number !== "None") return Number(number);
  const text = cell.textContent.trim();
  return text === "–" ? null : text;
}

function comparing(one, other) {
  // No value comes last in either direction, as the caller sees to.
  if (typeof one === "number" && typeof other === "number") return one - other;
  return String(one).localeCompare(String(other), undefined, { numeric: true });
}

function sortTable(table, column) {
  const head = table.tHead.rows[0].cells[column];
  const falling = head.getAttribute("aria-sort") === "ascending";
  for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", falling ? "descending" : "ascending");
  const rows = Array.from(table.tBodies[0].rows, (row) => ({ row, value: cellValue(row, column) }));
  rows.sort((one, other) => {
    if (one.value === null || other.value === null) return (one.value === null) - (other.value === null);
    return falling ? comparing(other.value, one.value) : comparing(one.value, other.value);
  });
  table.tBodies[0].append(...rows.map((each) => each.row));
}

function searchTable(table, wanted, told) {
  const words = wanted.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of table.tBodies[0].rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
    shown += row.hidden ? 0 : 1;
  }
  told.textContent = words.length ? `${shown} of ${table.tBodies[0].rows.length} rows` : "";
}

function enableTable(table) {
  Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => sortTable(table, column));
  });
  if (table.tBodies[0].rows.length < 4) return;
  const field = make("input", { type: "search", "aria-label": `search ${table.caption.textContent}`, placeholder: "search" });
  const told = make("span", { role: "status" });
  field.addEventListener("input", () => searchTable(table, field.value, told));
  table.parentElement.before(make("div", { class: "controls" }, field, told));
}
