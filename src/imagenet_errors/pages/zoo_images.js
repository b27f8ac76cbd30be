// The images that most models get wrong, and the most common errors of each type.
const images = data.hardest, files = images.file, MOST_NAMED = 50;
const CARD_REMS = data.images ? 23.5 : 13.3;
const FIELDS = 3; // of a prediction: class, type, number of models
const predictionsOf = (row) => Array.from({ length: images.predictions[row].length / FIELDS }, (_, at) =>
  images.predictions[row].slice(FIELDS * at, FIELDS * (at + 1)));

// How many models make what of each image, by the number of the outcome.
const counts = images.outcomes.map((digits) => {
  const of = new Uint16Array(data.types.length);
  for (const digit of digits) if (digit !== "-") of[digit]++;
  return of;
});
const isWrong = (type) => data.wrong[wrongBy()][type] === 1;
const numWrong = (row) => counts[row].reduce((sum, count, type) => sum + (isWrong(type) ? count : 0), 0);
const numKnown = (row) => counts[row].reduce((sum, count) => sum + count, 0);
// The number of the outcome of a model; null where it has no prediction.
const outcomeOf = (row, place) => images.outcomes[row][place] === "-" ? null : Number(images.outcomes[row][place]);

const lowerFiles = files.map((file) => file.toLowerCase());
const lowerClasses = data.classes.map((text) => text.toLowerCase());

// {row: [class, number of models] of its error in the list of a type}
const listed = Object.fromEntries(Object.entries(images.common).map(([type, { image, prediction, count }]) =>
  [type, new Map(image.map((row, at) => [row, [prediction[at], count[at]]]))]));

// How many of some models, by their places, get an image wrong.
function countWrong(row, chosen) {
  return chosen.filter((place) => isWrong(outcomeOf(row, place) ?? CORRECT)).length;
}

function selectImages() {
  const text = (state.find ?? "").toLowerCase(), hasText = lowerClasses.map((one) => one.includes(text));
  const label = state.label ? Number(state.label) : null, chosen = state.highlighted;
  const has = (row) => lowerFiles[row].includes(text) || hasText[images.label[row]]
    || images.accepted[row].some((id) => hasText[id]) || predictionsOf(row).some(([id]) => hasText[id]);
  const bySelected = {
    all: (row) => countWrong(row, chosen) === chosen.length,
    some: (row) => countWrong(row, chosen) > 0,
    none: (row) => countWrong(row, chosen) === 0,
  };
  const tests = [];
  if (text) tests.push(has);
  if (label !== null) tests.push((row) => images.label[row] === label);
  if (state.selected && chosen.length) tests.push(bySelected[state.selected]);
  const keeps = (row) => tests.every((test) => test(row));
  if (state.type) return [...listed[state.type].keys()].filter(keeps);
  const isHard = (row) => row < images.num_hardest && numWrong(row) > 0 && 2 * numWrong(row) >= numKnown(row);
  const hard = [...files.keys()].filter((row) => isHard(row) && keeps(row)).map((row) => [numWrong(row), row]);
  return hard.sort(([a, i], [b, j]) => b - a || i - j).map(([, row]) => row);
}

const ofModels = (count, all) => `${num(count)} of ${num(all)} models`;

// The error types of an image with their numbers of models, as text.
function describeTypes(row) {
  const types = [...counts[row].keys()].filter((type) => type !== CORRECT && counts[row][type]);
  types.sort((a, b) => counts[row][b] - counts[row][a]);
  return types.map((type) => `${typeTitle(type)} ${num(counts[row][type])}`).join(", ");
}

function fillCard(row) {
  const common = state.type ? listed[state.type].get(row) : null;
  const shownPredictions = common ? [[common[0], null, common[1]]] : predictionsOf(row).slice(0, 3);
  const chosen = state.highlighted, known = numKnown(row);
  return [
    el("span", { class: "tag" }, common ? `${ofModels(common[1], known)}: ${typeTitle(typeCodes.get(state.type))}`
      : `${ofModels(numWrong(row), known)} wrong`),
    chosen.length ? el("span", { class: "line chosen" },
      `selected: ${num(countWrong(row, chosen))} of ${num(chosen.length)} wrong`) : null,
    el("span", { class: "line" }, el("span", { class: "what" }, "label "), name(shortName(images.label[row]))),
    el("span", { class: "line" }, el("span", { class: "what" }, "accepted "),
      name(images.accepted[row].map(shortName).join(", ") || "none")),
    el("span", { class: "line wrong" }, el("span", { class: "what" }, "predicted "),
      shownPredictions.map(([id, , count], at) => [at ? ", " : null, name(shortName(id)), ` ${num(count)}`])),
    common ? null : el("span", { class: "line" }, el("span", { class: "what" }, "types "), describeTypes(row)),
  ];
}

function describeTitle(row) {
  return [name(shortName(images.label[row])), `, ${ofModels(numWrong(row), numKnown(row))} wrong`];
}

function describeImage(row) {
  const full = (id) => name(`${className(id)} (${id}, ${data.wordnet_ids[id]})`);
  const groups = data.groups.slice(1).filter((_, position) => images.groups[row] & (1 << position));
  const list = (items) => el("ul", {}, items.map((item) => el("li", {}, item)));
  const facts = [
    ["File", name(files[row])],
    ["Original label", full(images.label[row])],
    ["Accepted labels", images.accepted[row].length ? list(images.accepted[row].map(full)) : "none"],
    ["Groups", groups.join(", ") || "none"],
    ["Most frequent wrong predictions", list(predictionsOf(row).map(([id, type, count]) =>
      [full(id), `: ${ofModels(count, numKnown(row))}, ${typeTitle(type)}`]))],
    ["Selected models", state.models.length ? list(state.models.map((model) => {
      const type = outcomeOf(row, places.get(model));
      return [name(model), `: ${type === null ? "no prediction" : typeTitle(type)}`];
    })) : "none"],
  ];
  for (const type of [...counts[row].keys()]) {
    const of = [...models.name.keys()].filter((place) => outcomeOf(row, place) === type);
    if (!of.length) continue;
    const rest = of.length - MOST_NAMED;
    facts.push([`${typeTitle(type)}: ${ofModels(of.length, numKnown(row))}`, [of.slice(0, MOST_NAMED).map((place, at) =>
      [at ? ", " : null, name(models.name[place])]), rest > 0 ? ` and ${num(rest)} more` : null]]);
  }
  return el("dl", {}, facts.map(([what, value]) => [el("dt", {}, what), el("dd", {}, value)]));
}

const imageCount = el("output", { class: "count", "aria-live": "polite" });
const empty = el("p", { class: "empty" }, "No image is like that.");

function describeExtent() {
  if (state.type) return "Of the 1,000 most common pairs of image and prediction of this type the first of each image, as"
    + " evaluation.py --list_most_common_errors lists them.";
  const kept = images.num_half > images.num_hardest ? `, of which the first ${num(images.num_hardest)} are here` : "";
  const shown = wrongBy() === "multi_label" ? " Shown are those of them that half get wrong by multi-label." : "";
  return `At least half of the models get ${num(images.num_half)} unproblematic images wrong by top-1${kept}.`
    + `${shown} Most models wrong come first.`;
}

function showImages(isNew) {
  const rows = selectImages();
  if (isNew || String(rows) !== String(shown)) showCards(rows);
  else redrawCards();
  imageCount.textContent = `${num(rows.length)} images`;
  empty.hidden = rows.length > 0;
  document.getElementById("image-extent").textContent = describeExtent();
  controls.selected.disabled = !state.models.length;
}

function layImages() {
  const labels = [...new Set(images.label)].map((id) => [String(id), className(id)]);
  labels.sort((a, b) => (a[1] < b[1] ? -1 : 1));
  controls.find = el("input", { type: "search", id: "filter-find", autocomplete: "off", placeholder: "file or class",
    oninput: () => navigate({ ...state, find: controls.find.value, open: null }, { replace: true }) });
  const types = errorTypes.filter(({ name: type }) => listed[type].size)
    .map(({ name: type, title }) => [type, `common: ${title}`]);
  const none = { type: null, label: null, find: null, selected: null, open: null };
  document.getElementById("filters").append(
    el("h2", { id: "gallery-title", tabindex: "-1" }, "Hardest images"),
    el("form", { class: "controls", role: "search", "aria-label": "Images", onsubmit: stay },
      addControl("type", "Images", [["", "hardest"], ...types]),
      addControl("label", "Original label", [["", "any"], ...labels]),
      el("div", { class: "control" }, el("label", { for: "filter-find" }, "Search images"), controls.find),
      addControl("selected", "Of the selected models",
        [["", "any"], ["all", "all are wrong"], ["some", "some are wrong"], ["none", "none is wrong"]])),
    el("p", { id: "image-extent", class: "key" }),
    el("div", { class: "actions" }, imageCount,
      el("button", { type: "button", id: "clear", onclick: () => navigate({ ...state, ...none }) }, "Clear filters")));
  document.getElementById("gallery").append(empty, scroller);
}
