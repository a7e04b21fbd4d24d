"use strict";
// Puts the page together: tables at once, plots when they come into view or are printed.

function loadPlotly() {
  if (window.Plotly) return;
  const script = document.createElement("script");
  script.textContent = document.getElementById("plotly").textContent;
  document.head.append(script);
}

function enablePlots(section, table, redraws) {
  const waiting = new Map();
  const start = (place) => {
    const begin = waiting.get(place);
    if (begin) { loadPlotly(); waiting.delete(place); begin(); }
  };
  const seen = new IntersectionObserver((entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => start(entry.target)), { rootMargin: "200px" });
  const redraw = () => redraws.forEach((each) => each());
  const choices = strategyChoices(table, redraw);
  section.querySelector(".plot").before(choices);
  for (const place of section.querySelectorAll(".plot")) {
    const kind = place.dataset.kind;
    if (kind === "tasks") { taskPages(table, place); continue; }
    const drawing = make("div", { class: "drawing", role: "img", "aria-label": place.textContent });
    const controls = make("div", { class: "controls" });
    place.append(controls, drawing);
    const own = PLOTS[kind](table, drawing, controls);
    waiting.set(place, () => { redraws.push(own); own(); });
    seen.observe(place);
  }
  window.addEventListener("beforeprint", () => Array.from(waiting.keys()).forEach(start));
}

function nameLabels(table) {
  // Numbers stand for labels and tasks in the data, so that each name is there once.
  const name = (number) => table.names[number];
  for (const told of table.rows.flatMap((row) => Object.values(row.shown.errors))) {
    for (const key of ["labels", "answers", "whose"]) told[key] = told[key].map(name);
    told.mistakes = told.mistakes.map(([index, label, answer, whose, confidence]) => [index, name(label), name(answer), name(whose), confidence]);
  }
}

function themeButton(redraws) {
  const button = make("button", { id: "theme", type: "button" }, "light / dark");
  button.addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    redraws.forEach((each) => each());
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraws.forEach((each) => each()));
  return button;
}

(() => {
  const tables = JSON.parse(document.getElementById("data").textContent);
  const redraws = [];
  document.querySelectorAll("table.data").forEach(enableTable);
  for (const section of document.querySelectorAll("section[data-table]")) {
    const table = tables[Number(section.dataset.table)];
    table.hidden = new Set();
    nameLabels(table);
    enablePlots(section, table, redraws);
  }
  document.querySelector("header").append(themeButton(redraws));
  let theme;
  window.addEventListener("beforeprint", () => {
    theme = document.documentElement.dataset.theme;
    document.documentElement.dataset.theme = "light";
    redraws.forEach((each) => each());
  });
  window.addEventListener("afterprint", () => {
    if (theme === undefined) delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    redraws.forEach((each) => each());
  });
})();
