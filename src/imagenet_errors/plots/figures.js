// Figures with plotly.js: panels, points, lines, and models highlighted over them. The page's own script has `state`, with
// `dataset` (of page_data.describe_dataset), `family` (whose figures are shown), `highlighted` (places of models) and
// `hidden` (names of groups and of values of markers), and `choosePoint(panel, model)` and `toggleHidden(name)`. Elements
// #panels and #legend hold what is drawn.

const MOST_NUMBERED = 12; // highlighted models with numbers in the panels
const UNKNOWN = "unknown";
const PRINTED = { "--ground": "#ffffff", "--raised": "#ffffff", "--text": "#000000", "--quiet": "#333333", "--edge": "#aaaaaa" };
const SHAPES = { // of the legend: corners, angle of the first in degrees from the top, inner radius of a star, width
  "circle": [24, 0, 1, 1], "square": [4, 45, 1, 1], "pentagon": [5, 0, 1, 1], "octagon": [8, 22.5, 1, 1],
  "star": [5, 0, 0.4, 1], "diamond": [4, 0, 1, 1], "diamond-tall": [4, 0, 1, 0.6], "triangle-left": [3, 270, 1, 1],
  "triangle-right": [3, 90, 1, 1], "x": [4, 45, 0.4, 1], "triangle-down": [3, 180, 1, 1], "triangle-up": [3, 0, 1, 1],
  "cross": [4, 0, 0.4, 1], "hexagon": [6, 0, 1, 1], "y-down-open": [3, 180, 0.15, 1], "y-up-open": [3, 0, 0.15, 1],
  "y-right-open": [3, 90, 0.15, 1],
};
const dark = matchMedia("(prefers-color-scheme: dark)");
const touch = matchMedia("(pointer: coarse)");
const drawn = new Set(); // elements of the panels that have been drawn
let printing = false;

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

function groupColor(colorColumn, group) {
  const { palette } = state.dataset.colors[colorColumn][group];
  return shade(palette[Math.floor((palette.length - 1) / 2)]);
}

// A button for each group of images and each shape; one that is pressed hides its points.
function showLegend() {
  const { dataset, family: { figures }, hidden } = state;
  const toggle = (name, kind, ...content) => {
    const attributes = { type: "button", class: kind, "data-toggles": name, "aria-pressed": !hidden.has(name) };
    return element("button", { ...attributes, onclick: () => toggleHidden(name) }, ...content);
  };
  const shown = new Set(figures.flatMap((figure) => figure.clouds.map((cloud) => cloud.group)));
  const groups = dataset.groups.filter(({ name }) => shown.has(name));
  const { marker, color } = figures[0];
  const values = [...new Set(figures.map((figure) => figure.marker))].flatMap((name) => dataset.markers[name].values);
  const ofGroups = groups.map(({ name, title }) => toggle(name, "group", symbol("circle", groupColor(color, name)), title));
  const ofValues = values.map(({ name, symbol: shape, count }) =>
    toggle(name, "marker", symbol(shape, style("--text")), `${name} · ${count}`));
  document.getElementById("legend").replaceChildren(
    element("div", {}, ...ofGroups),
    element("div", {}, ...ofValues),
    element("p", {}, `Hue: images. Shape: ${worded(marker)}. Shade: ${worded(color)}.`));
}

const groupTitle = (group) => state.dataset.groups.find((one) => one.name === group).title;

function part(cloud, model) {
  const [count, outOf] = [column(cloud.count)[model], column(cloud.out_of)[model]];
  return `${integer(count)} of ${integer(outOf)}`;
}

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
  document.getElementById("panels").replaceChildren(...state.family.figures.map((figure, place) => {
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

// Points of other models, where a figure has them.
function behindTraces({ behind }) {
  if (!behind) return [];
  return [{ mode: "markers", ...behind, marker: { color: style("--edge"), size: 4 }, hoverinfo: "skip" }];
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
    ...behindTraces(figure),
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
    choosePoint(panel, state.dataset.models[point.customdata]);
  });
}

function drawAll() {
  for (const panel of document.querySelectorAll(".plot")) drawn.add(panel);
  drawn.forEach(draw);
}

addEventListener("beforeprint", () => { printing = true; drawAll(); });
addEventListener("afterprint", () => { printing = false; drawn.forEach(draw); });
