// The state of the page is its address: what a control changes is written to location.hash, and `show` reads it there.

const MOST_KEPT = 20; // models that Enter keeps from one search
const MOST_ROWS = 100; // of the table
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
let state = {};
let clicked = null; // the panel in which a point was clicked, and its height on the screen, where it stays

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

// ---- table, status

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

function showStatus() {
  const { dataset, query, matching, highlighted } = state;
  const asked = query.trim();
  const all = `${dataset.models.length.toLocaleString("en-US")} models of ${dataset.title}`;
  const hint = "Click a point, or search, to highlight models in all panels.";
  let told = highlighted.length ? `; ${highlighted.length} highlighted. Esc clears.` : `. ${hint}`;
  if (asked) told = matching.length ? `; ${matching.length} match “${asked}”. Enter keeps them, Esc clears.` : `; none matches “${asked}”.`;
  byId("status").textContent = all + told;
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

// A click on a point keeps or drops its model; the panel stays where it is on the screen.
function choosePoint(panel, model) {
  clicked = { panel, top: panel.getBoundingClientRect().top };
  go({ kept: toggled(state.kept, model) });
}

const toggleHidden = (name) => go({ hidden: toggled(state.hidden, name) });

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
  show();
}

start();
