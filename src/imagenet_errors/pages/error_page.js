// The state of the page is its address: filters, order and the opened error; every change goes through `navigate`.
let state = {};

const VALID = {
  type: (value) => typeCodes.has(value),
  group: (value) => data.groups.includes(value),
  superclass: (value) => superclassCodes.has(value),
  label: isClass,
  prediction: isClass,
  text: () => true,
  right: isModel,
  half: (value) => value === "1",
  vs: (value) => isModel(value.split(".")[0]) && typeCodes.has(value.split(".")[1]),
  sort: (value) => value !== "file" && value in SORTS,
  open: (value) => rowOfFile.has(value),
};

function isClass(value) { return /^\d{1,3}$/.test(value); }
function isModel(value) { return /^\d+$/.test(value) && Number(value) < compared.length; }

function readAddress() {
  const found = {};
  for (const [key, value] of new URLSearchParams(location.hash.slice(1))) {
    if (value && Object.hasOwn(VALID, key) && VALID[key](value)) found[key] = value;
  }
  return found;
}

function toAddress(next) {
  const kept = Object.keys(VALID).filter((key) => next[key] != null && next[key] !== "" && next[key] !== false);
  return `#${new URLSearchParams(kept.map((key) => [key, String(next[key])]))}`;
}

let drawn = null; // the address whose cards are shown, without the opened error

function update() {
  state = readAddress();
  const address = toAddress({ ...state, open: null });
  if (address !== drawn) {
    drawn = address;
    syncFilters();
    const rows = selectErrors(state);
    renderConfusions(rows);
    showCards(sortErrors(rows, state.sort));
    const total = errors.type.filter((type) => type !== CORRECT).length;
    count.textContent = `${num(rows.length)} ${state.type === "correct" ? "images that another model gets wrong"
      : `of ${num(total)} errors`}`;
    empty.hidden = rows.length > 0;
  }
  showOpened();
}

// A button that filters: `clears` the other filters, or adds to them.
function filterLink(text, filter, clears = filter.type !== undefined, label = null) {
  return el("button", { type: "button", class: "link", "aria-label": label, onclick: () => {
    navigate({ ...(clears ? { sort: state.sort } : { ...state, open: null }), ...filter });
    const gallery = document.getElementById("filters");
    gallery.scrollIntoView();
    document.getElementById("gallery-title").focus({ preventScroll: true });
  } }, name(text));
}

const count = el("output", { class: "count", "aria-live": "polite" });
const empty = el("p", { class: "empty" }, "No error passes these filters.");

function addCheck(key, value, label) {
  const box = el("input", { type: "checkbox", id: `filter-${key}-${value}`,
    onchange: () => navigate({ ...state, [key]: box.checked ? value : null, open: null }) });
  (controls[key] ??= []).push([box, value]);
  return el("label", { class: "check" }, box, el("span", {}, label));
}

function renderFilters() {
  const typed = data.types.map((one) => [one.name, one.title]);
  typed[0][1] = "correct, but wrong by a compared model";
  const byTitle = (options) => options.sort((a, b) => (a[1] < b[1] ? -1 : 1));
  const classes = (ids) => byTitle([...new Set(ids)].map((id) => [id, className(id)]));
  const supers = byTitle(errors.superclass_names.map((text, code) => [text, superclassTitle(code)]));
  const any = (text, options) => [["", text], ...options];
  controls.text = el("input", { type: "search", id: "filter-text", autocomplete: "off", placeholder: "file or class",
    oninput: () => navigate({ ...state, text: controls.text.value, open: null }, { replace: true }),
    onkeydown: (event) => {
      if (event.key !== "Escape") return;
      navigate({ ...state, text: "" }, { replace: true });
      controls.text.blur();
    } });
  const known = errors.probability.some((value) => value != null), others = errors.num_others.some((value) => value);
  const sorts = [["file", "file"],
    ...(known ? [["confident", "most confident first"], ["unsure", "least confident first"]] : []),
    ...(others ? [["common", "most common first"], ["rare", "least common first"]] : [])];
  document.getElementById("filters").append(
    el("h2", { id: "gallery-title", tabindex: "-1" }, "Gallery of errors"),
    el("form", { class: "controls", role: "search", onsubmit: (event) => event.preventDefault() },
      el("div", { class: "control" }, el("label", { for: "filter-text" }, "Search ( / )"), controls.text),
      addControl("type", "Error type", any("every error", compared.length ? typed : typed.slice(1))),
      addControl("group", "Group", any("all images", data.groups.map((group) => [group, group]))),
      addControl("superclass", "Superclass", any("any", supers)),
      addControl("label", "Original label", any("any", classes(errors.label))),
      addControl("prediction", "Prediction", any("any", classes(errors.prediction))),
      addControl("sort", "Order", sorts),
      el("fieldset", { class: "checks" }, el("legend", { class: "hidden" }, "Only errors that"),
        compared.map((one, at) => addCheck("right", String(at), ["only errors that ", name(one.name), " gets right"])),
        others ? addCheck("half", "1", "only what at least half of the other models predict too") : null)),
    el("div", { class: "actions" }, count,
      el("span", { class: "vs", id: "vs" }),
      el("button", { type: "button", id: "clear", onclick: () => navigate({}) }, "Clear filters"),
      el("button", { type: "button", id: "export", onclick: exportCsv }, "Export as CSV")),
    provisional.size ? el("p", { class: "key" }, "?: the open-world test, whose outcome is not known, could change the"
      + " type.") : "");
  document.getElementById("gallery").append(empty, scroller);
}

function syncFilters() {
  for (const [key, control] of Object.entries(controls)) {
    const chosen = state[key] ?? (key === "sort" ? "file" : "");
    if (Array.isArray(control)) control.forEach(([box, value]) => { box.checked = chosen === value; });
    else if (control.value !== chosen) control.value = chosen;
  }
  const [model, type] = (state.vs ?? "").split(".");
  document.getElementById("vs").replaceChildren(...(state.vs
    ? [name(compared[Number(model)].name), `: ${typeTitle(typeCodes.get(type))}`] : []));
}

function exportCsv() {
  const address = URL.createObjectURL(new Blob([toCsv(shown)], { type: "text/csv" }));
  el("a", { href: address, download: "errors.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

renderHead();
renderProfile();
renderComparisons();
renderFilters();
listenToPage();
update();
