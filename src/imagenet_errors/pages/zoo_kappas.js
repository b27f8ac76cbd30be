// Error consistency of every two models, as a heat map whose cells are those of a table.
const MOST_SHOWN = 60; // models of the heat map
const MOST_WITH_NUMBERS = 20; // models, with kappas written in the cells
const KAPPA_UNIT = 10_000, NO_KAPPA = -32_768;
const kappasBy = Object.fromEntries(Object.keys(data.wrong).map((wrongBy) =>
  [wrongBy, new DataView(Uint8Array.from(atob(data.kappas[wrongBy]), (one) => one.charCodeAt(0)).buffer)]));
const wrongBy = () => state.wrong ?? "top1";

// Cohen's kappa of two models by their places; null where undefined, and of a model with itself.
function kappaOf(first, second) {
  if (first === second) return null;
  const [low, high] = first < second ? [first, second] : [second, first];
  const at = low * numModels - (low * (low + 1)) / 2 + high - low - 1;
  const value = kappasBy[wrongBy()].getInt16(2 * at, true);
  return value === NO_KAPPA ? null : value / KAPPA_UNIT;
}

// The selected models, then those of the highest top-1 accuracy; similar ones next to each other.
function chooseShown() {
  const accuracy = (place) => models.accuracies.top1[place] ?? -1;
  const rest = [...models.name.keys()].sort((a, b) => accuracy(b) - accuracy(a) || a - b);
  const kept = new Set([...new Set([...state.highlighted, ...rest])].slice(0, MOST_SHOWN));
  return data.kappas.order.filter((place) => kept.has(place));
}

// Of black and white the one of the higher contrast (WCAG 2.2, relative luminance) on a colour `#rrggbb`.
function textColor(color) {
  const parts = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16) / 255)
    .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2] > 0.179 ? "#000000" : "#ffffff";
}

const kappaFormat = (value, digits = 2) => value == null ? UNKNOWN_TEXT : value.toFixed(digits).replace("-", "−");
const told = el("p", { id: "kappa-told", role: "status" });
let mapPlaces = [], mapCurrent = [0, 0]; // models of the map; row and column of the cell that the keyboard is on

function showKappas() {
  mapPlaces = chooseShown();
  const values = mapPlaces.flatMap((first) => mapPlaces.map((second) => kappaOf(first, second)));
  const known = values.filter((value) => value != null);
  const [least, most] = [Math.min(...known), Math.max(...known)], { colors } = data.kappas;
  const step = most > least ? (colors.length - 1) / (most - least) : 0;
  const colorOf = (value) => colors[Math.round((value - least) * step)];
  const isNumbered = mapPlaces.length <= MOST_WITH_NUMBERS, chosen = new Set(state.models);
  const nameOf = (place) => models.name[place];
  const cell = (row, column) => {
    const value = values[row * mapPlaces.length + column], color = value == null ? null : colorOf(value);
    const text = isNumbered && row !== column ? kappaFormat(value).replace("0.", ".") : "";
    const pair = row === column ? "the same model" : kappaFormat(value);
    return el("td", { tabindex: "-1", "data-at": `${row},${column}`, "aria-label": pair,
      style: color && `background:${color};color:${textColor(color)}` }, text);
  };
  const mark = (place) => (chosen.has(nameOf(place)) ? "chosen" : "");
  const head = (place, row) => el("th", { scope: "row", class: mark(place) },
    el("button", { type: "button", class: "link", tabindex: "-1", "data-at": `${row},-1`, "data-model": nameOf(place),
      "aria-pressed": String(chosen.has(nameOf(place))), onclick: () => toggleModel(nameOf(place)) }, name(nameOf(place))));
  const kind = isNumbered ? "map numbered" : "map";
  const table = el("table", { role: "grid", class: kind, "aria-label": "Error consistency, Cohen's kappa" },
    el("thead", {}, el("tr", {}, el("td", {}), mapPlaces.map((place) =>
      el("th", { scope: "col", class: mark(place) }, el("span", {}, name(nameOf(place))))))),
    el("tbody", {}, mapPlaces.map((place, row) =>
      el("tr", {}, head(place, row), mapPlaces.map((_, column) => cell(row, column))))));
  replaceMap(table);
  const left = numModels - mapPlaces.length;
  document.getElementById("map-extent").textContent = left ? `${num(mapPlaces.length)} of ${num(numModels)} models: those`
    + ` selected, then those of the highest top-1 accuracy; ${num(left)} are left out.` : `All ${num(numModels)} models.`;
  document.getElementById("map-scale").replaceChildren(...(known.length ? [kappaFormat(least),
    el("span", { class: "gradient", style: `background:linear-gradient(to right,${colors.join(",")})` }),
    kappaFormat(most)] : []));
}

// The focus stays on its model, or on its cell.
function replaceMap(table) {
  const held = document.activeElement?.closest("#map") ? document.activeElement.dataset : {};
  document.getElementById("map").replaceChildren(table);
  const cell = held.at && table.querySelector(
    held.model ? `button[data-model="${CSS.escape(held.model)}"]` : `[data-at="${held.at}"]`);
  setMapCell(cell || table.querySelector("button"), Boolean(cell));
}

function setMapCell(cell, isFocused) {
  if (!cell) return;
  document.querySelector("#map [tabindex='0']")?.setAttribute("tabindex", "-1");
  cell.tabIndex = 0;
  mapCurrent = cell.dataset.at.split(",").map(Number);
  if (isFocused) cell.focus();
}

function tellCell(event) {
  const cell = event.target.closest("[data-at]");
  if (!cell) return null;
  const [row, column] = cell.dataset.at.split(",").map(Number);
  const [first, second] = [row, column].map((at) => models.name[mapPlaces[at]]);
  if (column < 0 || row === column) return told.replaceChildren(name(first));
  const kappa = kappaFormat(kappaOf(mapPlaces[row], mapPlaces[column]), 3);
  return told.replaceChildren(name(first), " and ", name(second), `: kappa ${kappa}`);
}

function moveInMap(event) {
  const steps = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0],
    Home: [0, -Infinity], End: [0, Infinity] };
  const step = steps[event.key];
  if (!step) return;
  event.preventDefault();
  const last = mapPlaces.length - 1, clamp = (value, low) => Math.max(low, Math.min(last, value));
  const next = [clamp(mapCurrent[0] + step[0], 0), clamp(mapCurrent[1] + step[1], -1)];
  setMapCell(document.querySelector(`#map [data-at="${next}"]`), true);
}

function layKappas() {
  document.getElementById("kappas").append(
    el("h2", { id: "kappas-title" }, "Error consistency"),
    el("p", {}, "Cohen's kappa of being wrong on the same images (Geirhos et al. 2020), each on the images that both models"
      + " have predictions for. Similar models are next to each other. A name selects its model; arrow keys move between"
      + " cells. By what a prediction is wrong holds for the images below, too."),
    el("div", { class: "controls" },
      addControl("wrong", "Wrong by", [["", "top-1"], ["multi_label", "multi-label"]])),
    el("p", { class: "key" }, el("span", { id: "map-extent" }), " ", el("span", { id: "map-scale" })), told,
    el("div", { id: "map", class: "scroll", role: "region", tabindex: "0", "aria-label": "Heat map",
      onkeydown: moveInMap, onfocusin: enterCell, onmouseover: tellCell }));
}

function enterCell(event) {
  if (!event.target.dataset.at) return;
  setMapCell(event.target, false);
  tellCell(event);
}
