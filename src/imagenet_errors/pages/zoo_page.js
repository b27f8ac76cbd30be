// The state of the page is its address: filters, order, selected models and the opened image; every change goes through
// `navigate`. What figures.js needs besides is of the same state.
let state = { models: [], hide: [] };
const drawable = data.figures?.figures.length > 0;

const VALID = {
  group: (value) => value !== "all" && data.groups.includes(value),
  values: (value) => value === "counts",
  sort: (value) => Object.hasOwn(COLUMNS, value.replace("-", "")) && value !== DEFAULT_SORT,
  text: () => true,
  wrong: (value) => value !== "top1" && Object.hasOwn(data.wrong, value),
  type: (value) => Object.hasOwn(images.common, value),
  label: (value) => /^\d{1,3}$/.test(value),
  find: () => true,
  selected: (value) => ["all", "some", "none"].includes(value),
  open: (value) => rowOfFile.has(value),
};

function readAddress() {
  const query = new URLSearchParams(location.hash.slice(1)), found = {};
  for (const [key, value] of query) if (value && Object.hasOwn(VALID, key) && VALID[key](value)) found[key] = value;
  const chosen = [...new Set(query.getAll("model"))].filter((model) => places.has(model));
  return { ...found, models: chosen, hide: query.getAll("hide"), dataset: data.figures, family: data.figures,
    highlighted: chosen.map((model) => places.get(model)), hidden: new Set(query.getAll("hide")) };
}

function toAddress(next) {
  const query = new URLSearchParams(Object.keys(VALID).filter((key) => next[key]).map((key) => [key, next[key]]));
  for (const model of next.models) query.append("model", model);
  for (const hidden of next.hide) query.append("hide", hidden);
  return `#${query}`;
}

const stay = (event) => event.preventDefault(); // of a form
const toggled = (list, one) => list.includes(one) ? list.filter((other) => other !== one) : [...list, one];
const toggleModel = (model) => navigate({ ...state, models: toggled(state.models, model) });
const toggleHidden = (hidden) => navigate({ ...state, hide: toggled(state.hide, hidden) });

// A click on a point selects its model; the panel stays where it is on the screen.
function choosePoint(panel, model) {
  const { top } = panel.getBoundingClientRect();
  toggleModel(model);
  scrollBy(0, panel.getBoundingClientRect().top - top);
}

let before = null; // the state that is shown

function update() {
  state = readAddress();
  const isChanged = (key) => JSON.stringify(before[key]) !== JSON.stringify(state[key]);
  const changes = (...keys) => before === null || keys.some(isChanged);
  if (changes("group", "values", "sort", "text")) showTable();
  if (changes("models")) { markRows(); showSelection(); }
  if (drawable && changes("hide")) { refocus("toggles", showLegend); drawn.forEach(draw); }
  else if (drawable && changes("models")) drawn.forEach(mark);
  if (changes("models", "wrong")) showKappas();
  const isNew = changes("wrong", "type", "label", "find", "selected");
  if (isNew || changes("models")) showImages(isNew);
  syncControls();
  before = state;
  showOpened();
}

// Shows anew what has the focus, and gives it back to the same button.
function refocus(key, show) {
  const held = document.activeElement.dataset[key];
  show();
  if (held) document.querySelector(`[data-${key}="${CSS.escape(held)}"]`)?.focus({ preventScroll: true });
}

function syncControls() {
  for (const [key, control] of Object.entries(controls)) {
    if (control.value !== (state[key] ?? "")) control.value = state[key] ?? "";
  }
}

function showSelection() {
  const number = (at) => state.models.length <= MOST_NUMBERED ? `${at + 1} ` : ""; // as in the figures
  const chip = (model, at) => el("button", { type: "button", class: "chip", onclick: () => toggleModel(model) },
    number(at), name(model), el("span", { class: "hidden" }, ": drop"), el("span", { "aria-hidden": "true" }, " ×"));
  const count = state.models.length, rest = count - MOST_NAMED;
  document.getElementById("selection").replaceChildren(...(count ? [
    el("output", { "aria-live": "polite" }, `${num(count)} selected`), ...state.models.slice(0, MOST_NAMED).map(chip),
    rest > 0 ? `and ${num(rest)} more` : "",
    el("button", { type: "button", id: "drop", onclick: () => navigate({ ...state, models: [] }) }, "Select none"),
  ] : [el("p", {}, "No model is selected: select some in the table, in a figure or in the heat map, and they are marked in all"
    + " of them.")]));
}

function layFigures() {
  const section = document.getElementById("figures"), figures = data.figures;
  section.append(el("h2", { id: "figures-title" }, "Figures"));
  if (!figures) return section.append(el("p", {}, "There are no figures for this dataset."));
  const missing = figures.missing ? `${num(figures.missing)} main figures are left out, because their numbers are empty for all`
    + " models; those of model failures need the open-world test, which compute_clip_embeddings.py prepares." : "";
  const others = drawable && figures.missing && figures.is_stand_in ? "The other figures stand in." : "";
  const shown = drawable ? "Grey: the paper's models. A click on a point selects its model." : "";
  section.append(el("p", {}, [shown, missing, others].filter(Boolean).join(" ")));
  return drawable && section.append(el("div", { id: "legend" }), el("div", { id: "panels" }));
}

function layHead() {
  const lines = data.left_out;
  document.getElementById("head").append(
    el("p", {}, `Error types are of ${num(data.num_counted)} images, which are annotated and unproblematic.`));
  if (lines.length) document.getElementById("head").append(el("details", {},
    el("summary", {}, `Models of the folder that are left out: ${num(lines.length)}`),
    el("ul", {}, lines.map((line) => el("li", {}, name(line))))));
}

layHead();
layTable();
layFigures();
layKappas();
layImages();
state = readAddress();
if (drawable) layPanels();
dark.addEventListener("change", () => { if (drawable) { showLegend(); drawn.forEach(draw); } });
listenToPage();
update();
