"use strict";
// A page for each task: how every strategy did on it, and one strategy's confusions and worst mistakes.

function fixed(value) {
  return value === null || value === undefined ? "–" : value.toFixed(3);
}

function taskTable(table, name) {
  const rows = table.rows.filter((row) => row.shown.errors[name]).map((row) => {
    const told = row.shown.errors[name];
    const now = 1 - told.wrong / told.examples;
    const number = (value) => make("td", value === null ? {} : { "data-value": String(value) }, fixed(value));
    return make("tr", {}, make("th", { scope: "row" }, row.label), number(told.learned), number(now), make("td", { "data-value": String(told.wrong) }, `${told.wrong} of ${told.examples}`));
  });
  const heads = ["strategy", "when learned", "at the end", "wrong"].map((text) => make("th", { scope: "col" }, make("button", { type: "button" }, text)));
  const made = make("table", { class: "data" }, make("caption", {}, `${name}: one run of each strategy`), make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows));
  const wrapped = make("div", { class: "wide", tabindex: "0", role: "region", "aria-label": `${name}: all strategies` }, made);
  const whole = make("div", {}, wrapped);
  enableTable(made);
  return whole;
}

function answerName(label, whose, task) {
  return whose && whose !== task ? `${label} (${whose})` : label;
}

function confusionTable(told, task) {
  const counts = told.labels.map(() => told.answers.map(() => 0));
  for (const [i, j, count] of told.cells) counts[i][j] = count;
  const heads = told.answers.map((label, j) => make("th", { scope: "col" }, answerName(label, told.whose[j], task)));
  const rows = counts.map((line, i) => {
    const total = line.reduce((sum, count) => sum + count, 0) || 1;
    const cells = line.map((count, j) => {
      const cell = make("td", told.labels[i] === told.answers[j] ? { class: "right" } : {}, count ? String(count) : "");
      cell.style.background = `rgba(68, 119, 170, ${(0.75 * count) / total})`;
      return cell;
    });
    return make("tr", {}, make("th", { scope: "row" }, told.labels[i]), ...cells);
  });
  const caption = make("caption", {}, "examples by label (rows) and answer (columns)");
  return make("table", { class: "confusion" }, caption, make("thead", {}, make("tr", {}, make("td", {}), ...heads)), make("tbody", {}, ...rows));
}

function confusionList(told, task) {
  const lines = told.cells.map(([i, j, count]) => make("li", {}, `${told.labels[i]} answered with ${answerName(told.answers[j], told.whose[j], task)}: ${count}`));
  return make("div", {}, make("p", {}, "the most frequent confusions of many labels"), make("ol", {}, ...lines));
}

function mistakes(table, told, task) {
  if (!told.mistakes.length) return make("p", {}, "no mistake");
  const texts = table.texts[task] || {};
  const lines = told.mistakes.map(([index, label, answer, whose, confidence]) => make("li", {}, `${label}, answered with ${answerName(answer, whose, task)} (${(100 * confidence).toFixed(0)} % sure): `, texts[index] === undefined ? `example ${index}` : make("q", {}, texts[index])));
  return make("div", {}, make("p", {}, "its most confident mistakes"), make("ol", {}, ...lines));
}

function taskPage(table, name, place) {
  const rows = table.rows.filter((row) => row.shown.errors[name]);
  const shown = make("div", {});
  const show = (i) => {
    const told = rows[i].shown.errors[name];
    const part = told.whole ? make("div", { class: "wide", tabindex: "0", role: "region", "aria-label": `confusions of ${name}` }, confusionTable(told, name)) : confusionList(told, name);
    shown.replaceChildren(make("p", {}, `${rows[i].label}, seed ${rows[i].shown.seed}`), part, mistakes(table, told, name));
  };
  place.append(taskTable(table, name), make("div", { class: "controls" }, select("confusions of:", rows.map((row) => row.label), 0, show)), shown);
  if (rows.length) show(0);
}

function taskPages(table, place) {
  const names = [...new Set(table.rows.flatMap((row) => Object.keys(row.shown.errors)))];
  for (const name of names) {
    const page = make("details", {}, make("summary", {}, name));
    page.addEventListener("toggle", () => { if (page.open && page.children.length === 1) taskPage(table, name, page); });
    place.append(page);
  }
  const notes = table.rows.filter((row) => row.shown.note).map((row) => make("li", {}, `${row.label}: ${row.shown.note}`));
  if (notes.length) place.append(make("ul", { class: "note" }, ...notes));
}
