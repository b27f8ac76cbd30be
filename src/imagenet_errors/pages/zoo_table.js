// The table of models: one group of images at a time, sorted by a column, its rows selected by their boxes.
const models = data.models, numModels = models.name.length;
const places = new Map(models.name.map((model, place) => [model, place]));
const lowerNames = models.name.map((model) => model.toLowerCase());
const ACCURACY_TITLES = { top1: "top-1, %", multi_label: "MLA, %", real: "ReaL, %" };
const errorTypes = data.types.slice(1);
const tableOf = () => models.shares[state.group ?? "all"];

// [low, high] of a number of which only bounds are known, each null where unknown.
function bounds(type, model) {
  const column = tableOf()[type];
  if (column.count[model] != null) return [column.count[model], column.count[model]];
  return [column.low_count[model], column.high_count[model]];
}

function toShare(type, model, count) {
  const total = tableOf()[type].total[model];
  return count == null || !total ? null : 100 * (count / total);
}

function typeValue(type, model) {
  const toValue = (count) => (state.values === "counts" ? count : toShare(type, model, count));
  const [low, high] = bounds(type, model).map(toValue);
  return low == null || high == null ? null : [low, high];
}

function typeText(type, model) {
  const value = typeValue(type, model), format = state.values === "counts" ? num : (share) => round(share, 1);
  if (value === null) return UNKNOWN_TEXT;
  if (value[0] !== value[1]) return `${format(value[0])}–${format(value[1])}`;
  return (tableOf()[type].is_upper_bound[model] ? "≤" : "") + format(value[1]);
}

const total = (type) => (model) => tableOf()[type].total[model];
// {key: its heading, what a model is sorted by, what is written of it}
const COLUMNS = {
  name: { title: "model", value: (model) => lowerNames[model] },
  images: { title: "images", value: (model) => models.num_images[model], text: coverage },
  ...Object.fromEntries(Object.entries(models.accuracies).map(([key, values]) =>
    [key, { title: ACCURACY_TITLES[key], value: (model) => values[model], text: (model) => round(values[model], 2) }])),
  top1_errors: { title: "top-1 errors", value: total("class_overlap") },
  multi_label_errors: { title: "multi-label errors", value: total("fine_grained") },
  ...Object.fromEntries(errorTypes.map(({ name: type, title }) => [type, {
    title, value: (model) => typeValue(type, model)?.[1] ?? null, text: (model) => typeText(type, model) }])),
};

function coverage(model) {
  const count = models.num_images[model];
  if (count == null) return UNKNOWN_TEXT;
  return count < data.num_images ? `${num(count)} of ${num(data.num_images)}` : num(count);
}

const DEFAULT_SORT = "-top1"; // a key of COLUMNS; with a minus the greatest first
const sortKey = () => state.sort ?? DEFAULT_SORT;

// Unknown values come last in both directions; ties in the order of the models.
function sortModels(places) {
  const isDown = sortKey().startsWith("-"), { value } = COLUMNS[sortKey().replace("-", "")];
  const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0) * (isDown ? -1 : 1);
  return places.map((place) => [value(place), place])
    .sort(([a, i], [b, j]) => (a == null) - (b == null) || (a == null ? 0 : compare(a, b)) || i - j)
    .map(([, place]) => place);
}

function findModels() {
  const words = (state.text ?? "").toLowerCase().replaceAll("/", "--").split(/\s+/).filter(Boolean);
  return [...models.name.keys()].filter((place) => words.every((word) => lowerNames[place].includes(word)));
}

const rows = models.name.map((model, place) => {
  const box = el("input", { type: "checkbox", "data-model": model, onchange: () => toggleModel(model) });
  const head = el("th", { scope: "row" }, el("label", { class: "check" }, box, name(model)));
  return { place, box, head, row: el("tr", {}) };
});
const body = el("tbody", {}), heads = new Map(), modelCount = el("output", { class: "count", "aria-live": "polite" });

let filled = null; // the group and the kind of values that the cells show

function fillRows() {
  const wanted = `${state.group} ${state.values}`, columns = Object.values(COLUMNS).slice(1);
  if (filled === wanted) return;
  filled = wanted;
  for (const { place, row, head } of rows) {
    row.replaceChildren(head, ...columns.map(({ value, text }) =>
      el("td", { class: "n" }, text ? text(place) : num(value(place)))));
  }
}

function showTable() {
  fillRows();
  const found = sortModels(findModels());
  body.replaceChildren(...found.map((place) => rows[place].row));
  for (const [key, head] of heads) {
    const direction = { [key]: "ascending", [`-${key}`]: "descending" }[sortKey()];
    if (direction) head.setAttribute("aria-sort", direction);
    else head.removeAttribute("aria-sort");
  }
  document.getElementById("select-shown").disabled = found.length > MOST_SHOWN;
  modelCount.textContent = `${num(found.length)} of ${num(numModels)} models`;
  for (const tab of document.querySelectorAll("#groups button")) {
    const isChosen = tab.value === (state.group ?? "all");
    tab.setAttribute("aria-selected", isChosen);
    tab.tabIndex = isChosen ? 0 : -1;
  }
  const group = state.group ?? "all";
  document.getElementById("group-panel").setAttribute("aria-labelledby", `group-${group}`);
}

function markRows() {
  const chosen = new Set(state.models);
  for (const { place, box, row } of rows) {
    box.checked = chosen.has(models.name[place]);
    row.classList.toggle("chosen", box.checked);
  }
}

function sortBy(key) {
  const other = key === "name" ? key : `-${key}`, now = sortKey();
  const flipped = now.startsWith("-") ? key : `-${key}`;
  navigate({ ...state, sort: now.replace("-", "") === key ? flipped : other });
}

function headCell([key, { title }]) {
  const button = el("button", { type: "button", class: "sort", onclick: () => sortBy(key) }, title);
  const head = el("th", { scope: "col", class: key === "name" ? "" : "n" }, button);
  heads.set(key, head);
  return head;
}

function groupTabs() {
  const move = (event, at) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const next = tabs[(at + step + tabs.length) % tabs.length];
    next.click();
    next.focus();
  };
  const tabs = data.groups.map((group, at) => el("button", { type: "button", role: "tab", id: `group-${group}`,
    value: group, "aria-controls": "group-panel", onkeydown: (event) => move(event, at),
    onclick: () => navigate({ ...state, group: group === "all" ? null : group }) },
  group === "all" ? "all images" : group));
  return el("div", { role: "tablist", id: "groups", "aria-label": "Groups of images" }, tabs);
}

function layTable() {
  controls.text = el("input", { type: "search", id: "filter-text", autocomplete: "off", placeholder: "part of a name",
    oninput: () => navigate({ ...state, text: controls.text.value }, { replace: true }),
    onkeydown: (event) => { if (event.key === "Escape") navigate({ ...state, text: null }, { replace: true }); } });
  document.getElementById("models").append(
    el("h2", { id: "models-title" }, "Models"),
    el("form", { class: "controls", role: "search", onsubmit: stay },
      el("div", { class: "control" }, el("label", { for: "filter-text" }, "Search ( / )"), controls.text),
      addControl("values", "Error types as", [["", "shares, %"], ["counts", "numbers of images"]])),
    groupTabs(),
    el("div", { class: "actions" }, modelCount,
      el("button", { type: "button", id: "select-shown", onclick: selectShown },
        `Select the models shown (at most ${MOST_SHOWN})`)),
    el("div", { id: "group-panel", role: "tabpanel", class: "scroll models", tabindex: "0" },
      el("table", { id: "table" },
        el("thead", {}, el("tr", {}, Object.entries(COLUMNS).map(headCell))), body)),
    el("p", { class: "key" }, "Accuracies are of all images with a prediction. Class overlap and missing multi-label are"
      + " shares of top-1 errors, the other types of multi-label errors, of the group chosen. ≤: at most, as the open-world"
      + " test was skipped; two numbers: between these, as some of its outcomes are unknown; –: unknown."));
}

function selectShown() {
  const found = sortModels(findModels()).map((place) => models.name[place]);
  navigate({ ...state, models: [...new Set([...state.models, ...found])] });
}
