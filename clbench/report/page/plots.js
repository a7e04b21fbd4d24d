"use strict";
// The plots of one table: each draws what is chosen, and leaves hidden strategies out.

const PALETTE = ["#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#999933", "#ee8866", "#44bb99", "#9970ab"];
const DASHES = ["solid", "dash", "dot", "dashdot"];
const SYMBOLS = ["circle", "square", "diamond", "cross", "triangle-up", "star", "x"];

function colours() {
  const style = getComputedStyle(document.documentElement);
  return { ink: style.getPropertyValue("--ink").trim(), paper: style.getPropertyValue("--paper").trim(), line: style.getPropertyValue("--line").trim() };
}

function safe(text) {
  // Plotly reads some HTML in names and hovers.
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

function layout(x, y) {
  const { ink, paper, line } = colours();
  const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true };
  return {
    paper_bgcolor: paper, plot_bgcolor: paper, font: { color: ink }, margin: { l: 60, r: 10, t: 20, b: 50 },
    hovermode: "closest", showlegend: false, xaxis: { ...axis, title: { text: safe(x) } }, yaxis: { ...axis, title: { text: safe(y) } },
  };
}

function draw(place, traces, chosen) {
  Plotly.react(place, traces, chosen, { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d"] });
}

function select(label, options, chosen, change) {
  const list = make("select", {});
  options.forEach((name, i) => list.append(make("option", { value: String(i) }, name)));
  list.value = String(chosen);
  list.addEventListener("change", () => change(Number(list.value)));
  return make("label", {}, `${label} `, list);
}

function mean(values) {
  return values.length === 0 || values.includes(null) ? null : values.reduce((sum, value) => sum + value, 0) / values.length;
}

function visible(table) {
  return table.rows.map((row, i) => ({ row, i })).filter(({ i }) => !table.hidden.has(i));
}

function curves(table, place, controls) {
  let task = 0;
  const options = ["mean over tasks learned so far", ...table.tasks];
  const redraw = () => {
    const x = ["before", ...table.tasks.map((name, i) => `${i + 1} ${name}`)];
    const traces = visible(table).map(({ row, i }) => ({
      type: "scatter", mode: "lines+markers", name: safe(row.label), x: x.map(safe), connectgaps: false,
      y: row.matrix.map((cells, after) => (task === 0 ? mean(cells.slice(0, after)) : cells[task - 1])),
      line: { color: PALETTE[i % PALETTE.length], dash: DASHES[Math.floor(i / PALETTE.length) % DASHES.length] },
      hovertemplate: "%{fullData.name}<br>%{x}: %{y:.3f}<extra></extra>",
    }));
    const chosen = layout("tasks learned", table.measure);
    if (place.clientWidth > 700) {  // on a phone names are told by touching a line
      chosen.showlegend = true;
      chosen.height = Math.max(place.clientHeight, 90 + 19 * traces.length);
    }
    draw(place, traces, chosen);
  };
  controls.append(select("accuracy:", options, task, (chosen) => { task = chosen; redraw(); }));
  return redraw;
}

function matrix(table, place, controls) {
  let shown = 0;
  const redraw = () => {
    const row = table.rows[shown];
    const y = ["before", ...table.tasks.map((name, i) => `after ${i + 1} ${name}`)];
    const trace = {
      type: "heatmap", z: row.matrix, x: table.tasks.map((name, i) => safe(`${i + 1} ${name}`)), y: y.map(safe), zmin: 0, zmax: 1,
      colorscale: "Blues", reversescale: true, hovertemplate: "%{y}<br>%{x}: %{z:.3f}<extra></extra>", hoverongaps: false,
      texttemplate: table.tasks.length <= 12 ? "%{z:.2f}" : undefined,
    };
    const chosen = layout("task", "");
    chosen.yaxis.autorange = "reversed";
    draw(place, [trace], chosen);
  };
  controls.append(select("strategy:", table.rows.map((row) => row.label), shown, (chosen) => { shown = chosen; redraw(); }));
  return redraw;
}

function scatter(wantedX, wantedY) {
  return (table, place, controls) => {
    const names = table.columns.map((column) => column.name);
    const titles = table.columns.map((column) => column.title);
    let x = Math.max(0, names.indexOf(wantedX));
    let y = Math.max(0, names.indexOf(wantedY));
    const redraw = () => {
      const traces = visible(table).filter(({ row }) => row.values[names[x]][0] !== null && row.values[names[y]][0] !== null).map(({ row, i }) => ({
        type: "scatter", mode: "markers+text", name: safe(row.label), x: [row.values[names[x]][0]], y: [row.values[names[y]][0]],
        text: [safe(row.label.slice(0, 24))], textposition: "top center", textfont: { size: 10 },
        error_x: { type: "data", array: [row.values[names[x]][1] || 0], thickness: 1, width: 2 },
        error_y: { type: "data", array: [row.values[names[y]][1] || 0], thickness: 1, width: 2 },
        marker: { size: 9, color: PALETTE[i % PALETTE.length], symbol: SYMBOLS[i % SYMBOLS.length] },
        hovertemplate: `%{fullData.name}<br>${safe(titles[x])}: %{x:.4g}<br>${safe(titles[y])}: %{y:.4g}<extra>${row.seeds.length} seeds</extra>`,
      }));
      draw(place, traces, layout(titles[x], titles[y]));
    };
    controls.append(select("across:", titles, x, (chosen) => { x = chosen; redraw(); }), select("up:", titles, y, (chosen) => { y = chosen; redraw(); }));
    return redraw;
  };
}

const PLOTS = { curves, matrix, tradeoff: scatter("forgetting", "learning_accuracy"), cost: scatter("overhead", "average_accuracy") };

function strategyChoices(table, redraw) {
  // Checkboxes, so that a keyboard hides a strategy in all plots of a table at once.
  const boxes = table.rows.map((row, i) => {
    const box = make("input", { type: "checkbox" });
    box.checked = !table.hidden.has(i);
    box.addEventListener("change", () => { box.checked ? table.hidden.delete(i) : table.hidden.add(i); redraw(); });
    return [box, make("label", {}, box, ` ${row.label}`)];
  });
  const all = (shown) => () => {
    boxes.forEach(([box], i) => { box.checked = shown; shown ? table.hidden.delete(i) : table.hidden.add(i); });
    redraw();
  };
  const buttons = [["show all", true], ["hide all", false]].map(([name, shown]) => {
    const button = make("button", { type: "button" }, name);
    button.addEventListener("click", all(shown));
    return button;
  });
  return make("details", { class: "strategies" }, make("summary", {}, "Strategies in the plots"), make("div", { class: "controls" }, ...buttons), make("div", { class: "choices" }, ...boxes.map(([, label]) => label)));
}
