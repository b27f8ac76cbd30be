"use strict";
// The state of the page is its address: what a control changes is written to location.hash, and `show` reads it there.

const MOST_KEPT = 20; // models that Enter keeps from one search
const MOST_NUMBERED = 12; // highlighted models with numbers in the panels
const MOST_ROWS = 100; // of the table
const UNKNOWN = "unknown";
const PRINTED = { "--ground": "#ffffff", "--raised": "#ffffff", "--text": "#000000", "--quiet": "#333333", "--edge": "#aaaaaa" };
const SHAPES = { // of the legend: corners, angle of the first in degrees from the top, inner radius of a star, width
  "circle": [24, 0, 1, 1], "square": [4, 45, 1, 1], "pentagon": [5, 0, 1, 1], "octagon": [8, 22.5, 1, 1],
  "star": [5, 0, 0.4, 1], "diamond": [4, 0, 1, 1], "diamond-tall": [4, 0, 1, 0.6], "triangle-left": [3, 270, 1, 1],
  "triangle-right": [3, 90, 1, 1], "x": [4, 45, 0.4, 1], "triangle-down": [3, 180, 1, 1], "triangle-up": [3, 0, 1, 1],
  "cross": [4, 0, 0.4, 1], "hexagon": [6, 0, 1, 1], "y-down-open": [3, 180, 0.15, 1], "y-up-open": [3, 0, 0.15, 1],
  "y-right-open": [3, 90, 0.15, 1],
};
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const dark = matchMedia("(prefers-color-scheme: dark)");
const touch = matchMedia("(pointer: coarse)");
const drawn = new Set(); // elements of the panels that have been drawn
let state = {};
let printing = false;
let clicked = null; // the panel in which a point was clicked, and its height on the screen, where it stays

// ---- small parts

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

const worded = (name) => name.replaceAll("_", " ");
const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;"); // plotly reads tags
const integer = (number) => (number === null ? UNKNOWN : number.toLocaleString("en-US"));
const decimal = (number, digits) => (number === null ? UNKNOWN : number.toFixed(digits));
const shade = (both) => both[dark.matches && !printing ? 1 : 0];
const style = (name) => (printing ? PRINTED[name] : getComputedStyle(document.documentElement).getPropertyValue(name).trim());
const column = (place) => state.dataset.columns[place];

function svg(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function symbol(name, color) {
  const [corners, first, inner, width] = SHAPES[name];
  const places = [...Array(2 * corners).keys()].filter((place) => inner < 1 || place % 2 === 0);
  const points = places.map((place) => {
    const [angle, radius] = [((first + (180 * place) / corners) * Math.PI) / 180, place % 2 ? 7 * inner : 7];
    return `${(8 + width * radius * Math.sin(angle)).toFixed(2)},${(8 - radius * Math.cos(angle)).toFixed(2)}`;
  });
  const polygon = svg("polygon", { points: points.join(" "), fill: color });
  return svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, polygon);
}

// ---- the state

function readState() {
  const hash = new URLSearchParams(location.hash.slice(1));
  const dataset = data.datasets.find((one) => one.name === hash.get("dataset")) || data.datasets[0];
  const family = dataset.families.find((one) => one.name === hash.get("family")) || dataset.families[0];
  const query = hash.get("query") || "";
  const kept = [...hash].length ? hash.getAll("model") : data.highlight;
  const words = query.toLowerCase().replaceAll("/", "--").split(/\s+/).filter(Boolean);
  const isMatch = (model) => words.every((word) => model.toLowerCase().includes(word));
  const matching = words.length ? dataset.models.filter(isMatch) : [];
  const names = new Set([...kept, ...matching]);
  const places = new Map(dataset.models.map((model, place) => [model, place]));
  const highlighted = [...names].filter((model) => places.has(model)).map((model) => places.get(model));
  return { dataset, family, query, kept, matching, highlighted, hidden: new Set(hash.getAll("hide")) };
}

function go(change, replace = false) {
  const next = { ...state, ...change };
  const hash = new URLSearchParams({ dataset: next.dataset.name, family: next.family.name });
  if (next.query) hash.set("query", next.query);
  for (const model of next.kept) hash.append("model", model);
  for (const name of next.hidden) hash.append("hide", name);
  if (replace) location.replace(`#${hash}`);
  else location.hash = hash;
}

function toggled(values, value) {
  const left = [...values].filter((one) => one !== value);
  return left.length === [...values].length ? [...left, value] : left;
}

function show() {
  const before = state;
  state = readState();
  if (state.dataset !== before.dataset) showTabs("families", state.dataset.families, (family) => ({ family }));
  markTabs("datasets", state.dataset);
  markTabs("families", state.family);
  if (state.family !== before.family) layPanels();
  if (byId("search").value !== state.query) byId("search").value = state.query;
  const focused = document.activeElement.dataset.toggles;
  showLegend();
  showTable();
  showStatus();
  if (focused) document.querySelector(`[data-toggles="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  drawn.forEach(String([...state.hidden]) === String([...(before.hidden ?? [])]) ? mark : draw);
  if (clicked) scrollBy(0, clicked.panel.getBoundingClientRect().top - clicked.top);
  clicked = null;
}

// ---- tabs

function showTabs(id, items, change) {
  byId(id).replaceChildren(...items.map((item) => {
    const attributes = { type: "button", role: "tab", "data-name": item.name, "aria-controls": "main" };
    return element("button", { ...attributes, onclick: () => go(change(item)) }, item.title);
  }));
}

function markTabs(id, chosen) {
  for (const tab of byId(id).children) {
    const isChosen = tab.dataset.name === chosen.name;
    tab.setAttribute("aria-selected", isChosen);
    tab.tabIndex = isChosen ? 0 : -1;
    if (isChosen) byId(id).scrollLeft = tab.offsetLeft - byId(id).offsetLeft - 20;
  }
}

function moveTab(event) {
  const tabs = [...event.currentTarget.children];
  const place = tabs.indexOf(event.target);
  const next = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: tabs.length - 1 }[event.key];
  if (next === undefined || place < 0) return;
  event.preventDefault();
  const tab = tabs[(next + tabs.length) % tabs.length];
  tab.click();
  tab.focus();
}

// ---- legend, table, status

function showLegend() {
  const { dataset, family: { figures }, hidden } = state;
  const toggle = (name, kind, ...content) => {
    const attributes = { type: "button", class: kind, "data-toggles": name, "aria-pressed": !hidden.has(name) };
    return element("button", { ...attributes, onclick: () => go({ hidden: toggled(hidden, name) }) }, ...content);
  };
  const shown = new Set(figures.flatMap((figure) => figure.clouds.map((cloud) => cloud.group)));
  const groups = dataset.groups.filter(({ name }) => shown.has(name));
  const { marker, color } = figures[0];
  const values = [...new Set(figures.map((figure) => figure.marker))].flatMap((name) => dataset.markers[name].values);
  const ofGroups = groups.map(({ name, title }) => toggle(name, "group", symbol("circle", groupColor(color, name)), title));
  const ofValues = values.map(({ name, symbol: shape, count }) =>
    toggle(name, "marker", symbol(shape, style("--text")), `${name} · ${count}`));
  byId("legend").replaceChildren(
    element("div", {}, ...ofGroups),
    element("div", {}, ...ofValues),
    element("p", {}, `Hue: images. Shape: ${worded(marker)}. Shade: ${worded(color)}.`));
}

function groupColor(colorColumn, group) {
  const { palette } = state.dataset.colors[colorColumn][group];
  return shade(palette[Math.floor(palette.length / 2)]);
}

function showTable() {
  const { dataset, family, highlighted } = state;
  const axes = new Map(family.figures.map((figure) => [figure.x_label, column(figure.clouds[0].x)]));
  const clouds = new Map(family.figures.flatMap((figure) =>
    figure.clouds.map((cloud) => [`${groupTitle(cloud.group)}: of ${figure.basis}`, cloud])));
  const heads = ["", "Model", "Training data", "Parameters", ...axes.keys(), ...clouds.keys()];
  const rows = highlighted.slice(0, MOST_ROWS).map((model, row) => [
    isNumbered() ? String(row + 1) : "",
    [dataset.models[model], " ", keepButton(dataset.models[model])],
    dataset.corpora[model] ?? UNKNOWN,
    integer(dataset.num_params[model]),
    ...[...axes.values()].map((values) => decimal(values[model], 2)),
    ...[...clouds.values()].map((cloud) => part(cloud, model)),
  ]);
  const more = highlighted.length > MOST_ROWS ? `, of which the first ${MOST_ROWS}` : "";
  byId("highlighted").hidden = highlighted.length === 0;
  byId("highlighted").replaceChildren(element("table", {},
    element("caption", {}, `${family.title}: ${highlighted.length} highlighted models${more}`),
    element("thead", {}, element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, head)))),
    element("tbody", {}, ...rows.map((row) =>
      element("tr", {}, ...row.map((cell) => element("td", {}, ...[cell].flat())))))));
}

function keepButton(model) {
  const word = state.kept.includes(model) ? "drop" : "keep";
  const attributes = { type: "button", "data-toggles": model, "aria-label": `${word} ${model}` };
  return element("button", { ...attributes, onclick: () => go({ kept: toggled(state.kept, model) }) }, word);
}

const groupTitle = (group) => state.dataset.groups.find((one) => one.name === group).title;

function part(cloud, model) {
  const [count, outOf] = [column(cloud.count)[model], column(cloud.out_of)[model]];
  return `${integer(count)} of ${integer(outOf)}`;
}

function showStatus() {
  const { dataset, query, matching, highlighted } = state;
  const asked = query.trim();
  const all = `${dataset.models.length.toLocaleString("en-US")} models of ${dataset.title}`;
  const hint = "Click a point, or search, to highlight models in all panels.";
  let told = highlighted.length ? `; ${highlighted.length} highlighted. Esc clears.` : `. ${hint}`;
  if (asked) told = matching.length ? `; ${matching.length} match “${asked}”. Enter keeps them, Esc clears.` : `; none matches “${asked}”.`;
  byId("status").textContent = all + told;
}

// ---- panels

const observer = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue;
    observer.unobserve(target);
    drawn.add(target);
    draw(target);
  }
}, { rootMargin: "300px" });

function layPanels() {
  observer.disconnect();
  drawn.forEach((panel) => Plotly.purge(panel));
  drawn.clear();
  byId("panels").replaceChildren(...state.family.figures.map((figure, place) => {
    const panel = element("div", { class: "plot", "data-place": place });
    observer.observe(panel);
    const notes = [...figure.lines.map((line) => line.text), ...figure.notes];
    return element("figure", { id: figure.stem },
      element("figcaption", {},
        element("h2", {}, `${figure.heading} · ${figure.clouds.map((cloud) => groupTitle(cloud.group)).join(", ")}`),
        element("p", { class: "y" }, figure.y_label)),
      panel,
      ...(notes.length ? [element("ul", {}, ...notes.map((note) => element("li", {}, note)))] : []));
  }));
}

function hover(figure, cloud, model) {
  const { models, corpora, num_params: parameters } = state.dataset;
  return [
    `<b>${escaped(models[model])}</b>`,
    escaped(corpora[model] ?? "unknown training data"),
    parameters[model] === null ? "unknown number of parameters" : `${integer(parameters[model])} parameters`,
    `${groupTitle(cloud.group)}: ${part(cloud, model)} ${figure.basis}`,
    `x ${decimal(column(cloud.x)[model], 2)}, y ${Number(column(cloud.y)[model].toPrecision(4))}`,
  ].join("<br>");
}

function pointTraces(figure, cloud) {
  const { values, of_models: valueOf } = state.dataset.markers[figure.marker];
  const { palette, of_models: colorOf } = state.dataset.colors[figure.color][cloud.group];
  return values.flatMap((value, place) => {
    const models = valueOf.flatMap((one, model) => (one === place && column(cloud.y)[model] !== null ? [model] : []));
    if (state.hidden.has(value.name) || !models.length) return [];
    const isMany = value.count > 100;
    const marker = {
      symbol: value.symbol, size: isMany ? 5 : 8, opacity: isMany ? 0.6 : 0.95,
      color: models.map((model) => shade(palette[colorOf[model]])), line: { width: isMany ? 0 : 0.5, color: style("--ground") },
    };
    const [x, y] = [cloud.x, cloud.y].map((place) => models.map((model) => column(place)[model]));
    const text = models.map((model) => hover(figure, cloud, model));
    const name = `${groupTitle(cloud.group)}, ${value.name}`;
    return [{ mode: "markers", x, y, marker, name, text, hoverinfo: "text", customdata: models, cliponaxis: false }];
  });
}

function lineTraces(line) {
  const color = shade(line.color);
  const around = { x: [...line.x, ...line.x.toReversed()], y: [...line.high, ...line.low.toReversed()] };
  const filled = { fill: "toself", fillcolor: color, opacity: 0.25, line: { width: 0 }, hoverinfo: "skip" };
  const text = line.x.map(() => line.text);
  return [
    { mode: "lines", ...around, ...filled },
    { mode: "lines", x: line.x, y: line.y, line: { color, width: 2 }, hoverinfo: "text", text },
  ];
}

// Highlighted models are drawn over plotly's points, which stay as they are: highlighting takes no time that is felt.
function mark(panel) {
  const figure = state.family.figures[panel.dataset.place];
  const { xaxis, yaxis } = panel._fullLayout;
  const rings = svg("g", { class: "rings", stroke: style("--text") });
  const circles = [];
  for (const cloud of shownClouds(figure)) {
    const fill = groupColor(figure.color, cloud.group);
    state.highlighted.forEach((model, place) => {
      const [x, y] = [xaxis.d2p(column(cloud.x)[model]), yaxis.d2p(column(cloud.y)[model])];
      if (column(cloud.y)[model] === null || x < 0 || y < 0 || x > xaxis._length || y > yaxis._length) return;
      circles.push({ x, y, number: place + 1 });
      rings.append(svg("circle", { cx: x, cy: y, r: 5, fill, "data-model": state.dataset.models[model] }));
    });
  }
  if (isNumbered())
    for (const { x, y, number } of placeNumbers(circles))
      rings.append(svg("text", { x, y: y + 4, fill: style("--text") }, String(number)));
  panel.querySelector(".rings")?.remove();
  panel.querySelector(".scatterlayer")?.parentNode.append(rings); // no such layer where all is hidden
  panel.classList.toggle("dimmed", state.highlighted.length > 0);
}

// The places of numbers: beside their circles where no circle or number is; one that finds none is left to the table.
function placeNumbers(circles) {
  const taken = [...circles];
  return circles.flatMap(({ x, y, number }) => {
    const beside = [[0, -14], [15, 0], [-15, 0], [0, 14], [12, -12], [-12, -12], [12, 12], [-12, 12]];
    const places = beside.map(([right, down]) => ({ x: x + right, y: y + down, number }));
    const free = places.find((place) => taken.every((other) => Math.hypot(place.x - other.x, place.y - other.y) > 12));
    if (!free) return [];
    taken.push(free);
    return [free];
  });
}

const isNumbered = () => state.highlighted.length <= MOST_NUMBERED;
const shownClouds = (figure) => figure.clouds.filter((cloud) => !state.hidden.has(cloud.group));

function draw(panel) {
  const figure = state.family.figures[panel.dataset.place];
  const traces = [
    ...shownClouds(figure).flatMap((cloud) => pointTraces(figure, cloud)),
    ...figure.lines.filter((line) => !state.hidden.has(line.group)).flatMap(lineTraces),
  ];
  const [text, quiet, edge, raised] = ["--text", "--quiet", "--edge", "--raised"].map(style);
  const axis = { gridcolor: edge, zeroline: false, linecolor: quiet, ticks: "outside", tickcolor: quiet, automargin: true };
  const layout = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false,
    font: { color: text, family: "system-ui, sans-serif", size: 12 }, margin: { l: 45, r: 12, t: 12, b: 45 },
    hovermode: "closest", dragmode: touch.matches ? false : "zoom", uirevision: figure.stem,
    hoverlabel: { bgcolor: raised, bordercolor: edge, font: { color: text }, align: "left" },
    xaxis: { ...axis, title: { text: figure.x_label, standoff: 8 }, range: figure.x_range },
    yaxis: { ...axis, range: figure.y_range },
  };
  const isNew = !panel.classList.contains("js-plotly-plot");
  Plotly.react(panel, traces, layout, { responsive: true, displayModeBar: false });
  if (!isNew) return;
  mark(panel);
  panel.on("plotly_afterplot", () => mark(panel));
  panel.on("plotly_click", ({ points: [point] }) => {
    if (point.customdata === undefined) return;
    clicked = { panel, top: panel.getBoundingClientRect().top };
    go({ kept: toggled(state.kept, state.dataset.models[point.customdata]) });
  });
}

function drawAll() {
  for (const panel of document.querySelectorAll(".plot")) drawn.add(panel);
  drawn.forEach(draw);
}

// ---- what happens when

function type(event) {
  if (event.key === "/" && event.target !== byId("search")) {
    event.preventDefault();
    byId("search").focus({ preventScroll: true });
  } else if (event.key === "Escape") {
    clear();
  } else if (event.key === "Enter" && event.target === byId("search") && state.matching.length) {
    if (state.matching.length > MOST_KEPT)
      byId("status").textContent = `${state.matching.length} match: narrow the search to ${MOST_KEPT} or fewer to keep them.`;
    else go({ kept: [...new Set([...state.kept, ...state.matching])], query: "" });
  }
}

function clear() {
  byId("search").value = "";
  go({ query: "", kept: [] });
}

function start() {
  const sameFamily = ({ families }) => families.find((one) => one.name === state.family.name) || families[0];
  showTabs("datasets", data.datasets, (dataset) => ({ dataset, family: sameFamily(dataset) }));
  for (const id of ["datasets", "families"]) byId(id).addEventListener("keydown", moveTab);
  byId("search").addEventListener("input", () => go({ query: byId("search").value }, true));
  byId("clear").addEventListener("click", clear);
  addEventListener("keydown", type);
  addEventListener("hashchange", show);
  dark.addEventListener("change", () => { show(); drawn.forEach(draw); });
  addEventListener("beforeprint", () => { printing = true; drawAll(); });
  addEventListener("afterprint", () => { printing = false; drawn.forEach(draw); });
  show();
}

start();
