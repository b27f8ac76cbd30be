// Head, profile, confusions and comparisons; all numbers are those of the profile's JSON, rounded.
const signed = (value) => value == null ? UNKNOWN_TEXT : (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);
const ACCURACIES = { top1: "Top-1", top5: "Top-5", real: "ReaL", multi_label: "MLA", imagenet_m: "ImageNet-M" };

function renderHead() {
  const profile = data.profile;
  const cards = profile.accuracies.map((one) => el("div", { class: "accuracy" },
    el("dt", {}, ACCURACIES[one.name] ?? one.name),
    el("dd", {}, one.value == null ? UNKNOWN_TEXT : `${round(one.value, 2)}\u00a0%`,
      el("small", {}, one.value == null ? one.unknown
        : `${interval(one.low, one.high, 2)}${one.num_images == null ? "" : `, ${num(one.num_images)} images`}`))));
  const list = (items) => el("ul", {}, items.map((text) => el("li", {}, text)));
  document.getElementById("head").append(
    el("h1", {}, "Errors of ", name(profile.model)),
    el("p", {}, `${profile.dataset}, ${profile.images}; ${data.heading[1]}.`),
    el("dl", { class: "accuracies" }, cards),
    profile.sentences.length
      ? el("div", {}, el("h2", {}, "What stands out"), list(profile.sentences))
      : el("p", {}, profile.reference ? "Nothing stands out among the models of its accuracy."
        : "There are no published models to compare with."),
    el("details", { open: true }, el("summary", {}, "What is not known, and what the numbers mean"), list(data.notes)));
}

// A bar of a share with its interval, and the expected share with the band of 95 % of models, from 0 to `most` percent.
function drawBar(line, most) {
  const x = (value) => (100 * value) / most;
  const parts = [];
  const rect = (kind, low, high, y, height) => parts.push(el("rect",
    { class: kind, x: x(low), width: Math.max(x(high) - x(low), 0.4), y, height }));
  if (line.expected != null) rect("band", line.expected_low, line.expected_high, 0, 22);
  if (line.share != null) rect(line.is_upper_bound ? "bar bound" : "bar", 0, line.share, 5, 12);
  if (line.share == null && line.share_low != null) rect("bar bound", line.share_low, line.share_high, 5, 12);
  else if (line.share_low != null && !line.is_upper_bound) rect("whisker", line.share_low, line.share_high, 10, 2);
  if (line.expected != null) rect("expected", line.expected - most / 400, line.expected + most / 400, 0, 22);
  const attributes = { viewBox: "0 0 100 22", preserveAspectRatio: "none", "aria-hidden": "true", class: "chart" };
  return el("svg", attributes, parts);
}

function formatCount(line) {
  if (line.count == null && line.low_count != null) return `${num(line.low_count)}–${num(line.high_count)}`;
  return line.count == null ? UNKNOWN_TEXT : (line.is_upper_bound ? "≤" : "") + num(line.count);
}

function formatShare(line) {
  if (line.share != null) return (line.is_upper_bound ? "≤" : "") + round(line.share);
  if (line.low_count == null || !line.total) return UNKNOWN_TEXT;
  return interval((100 * line.low_count) / line.total, (100 * line.high_count) / line.total);
}

function profileRow(line, most) {
  const title = typeTitle(typeCodes.get(line.error_type));
  const filter = { type: line.error_type, group: line.group === "all" ? undefined : line.group };
  const standsOut = line.p_value != null && line.p_value <= 0.05;
  return el("tr", { "data-type": line.error_type },
    el("th", { scope: "row" }, filterLink(title, filter)),
    el("td", { class: "n" }, formatCount(line)),
    el("td", { class: "n" }, formatShare(line)),
    el("td", { class: "n" }, line.is_upper_bound ? UNKNOWN_TEXT : interval(line.share_low, line.share_high)),
    el("td", { class: "wide" }, drawBar(line, most)),
    el("td", { class: "n" }, round(line.expected)),
    el("td", { class: "n" }, interval(line.expected_low, line.expected_high)),
    el("td", { class: "n", title: line.no_place || null },
      line.percentile == null ? UNKNOWN_TEXT : line.percentile.toFixed(0), standsOut ? el("b", {}, "*") : null));
}

const HEADINGS = ["error type", "count", "share, %", "95 %", "chart", "expected, %", "95 % of models", "percentile"];

function profileTable(lines) {
  const most = Math.max(10, ...lines.flatMap((line) => [line.share_high ?? 0, line.expected_high ?? 0]));
  const body = [];
  for (const of of new Set(lines.map((line) => line.denominator))) {
    const part = lines.filter((line) => line.denominator === of);
    body.push(el("tr", {}, el("th", { colspan: HEADINGS.length, class: "part", scope: "colgroup" },
      `percent of ${num(part[0].total)} ${of}`)), ...part.map((line) => profileRow(line, most)));
  }
  return makeTable(HEADINGS, body, { class: "profile" });
}

function renderProfile() {
  const section = document.getElementById("profile");
  const groups = ["all", ...data.groups], panel = el("div", { id: "profile-panel", role: "tabpanel", tabindex: "0" });
  const show = (group, focus) => {
    tabs.forEach((tab, at) => {
      tab.setAttribute("aria-selected", groups[at] === group);
      tab.tabIndex = groups[at] === group ? 0 : -1;
      if (groups[at] === group && focus) tab.focus();
    });
    panel.setAttribute("aria-labelledby", `tab-${group}`);
    const lines = data.profile.error_types.filter((line) => line.group === group);
    panel.replaceChildren(profileTable(lines), ...[drawPlaces(lines, group) ?? []].flat());
  };
  const move = (event, at) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) { event.preventDefault(); show(groups[(at + step + groups.length) % groups.length], true); }
  };
  const tabs = groups.map((group, at) => el("button", { role: "tab", id: `tab-${group}`, type: "button",
    "aria-controls": "profile-panel", onclick: () => show(group), onkeydown: (event) => move(event, at) },
    group === "all" ? "all images" : group));
  section.append(el("h2", { id: "profile-title" }, "Profile"),
    el("div", { role: "tablist", "aria-label": "Groups of images" }, tabs), panel,
    el("p", { class: "key" }, el("span", { class: "swatch bar" }), " share with its 95 % interval  ",
      el("span", { class: "swatch band" }), " expected at this MLA: 95 % of models  ",
      el("span", { class: "swatch bound" }), " upper bound, or between two bounds"),
    data.reference ? el("p", { class: "key" }, "Panels: grey points are the published models, the line and its band"
      + " what is expected, the diamond with its interval this model; an arrow: at most.") : "");
  show("all");
}

const NUM_LISTED = 15;

function facet(title, headings, rows) {
  const listed = rows.length ? makeTable(headings, rows) : el("p", {}, "None.");
  return el("div", { class: "facet" }, el("h3", {}, title), listed);
}

function facetRow(label, filter, count, most, ...more) {
  const bar = el("svg", { viewBox: "0 0 100 4", preserveAspectRatio: "none", class: "small", "aria-hidden": "true" },
    el("rect", { class: "bar", x: 0, y: 0, height: 4, width: (100 * count) / most }));
  return el("tr", {}, el("td", {}, filterLink(label, filter), bar), el("td", { class: "n" }, num(count)),
    more.map((text) => el("td", { class: "n" }, text)));
}

function renderConfusions(rows) {
  const of = state.type ? `${typeTitle(typeCodes.get(state.type))} errors` : "errors";
  const free = state.label || state.prediction ? selectErrors(state, ["label", "prediction"]) : rows;
  const top = (counts) => [counts.slice(0, NUM_LISTED), counts[0]?.[1]];
  const [pairs, mostPairs] = top(countBy(free, (row) => [errors.label[row] * 1000 + errors.prediction[row]]));
  const others = state.superclass ? selectErrors(state, ["superclass"]) : rows;
  const [supers, mostSupers] = top(countBy(others, (row) => errors.superclasses[row]));
  document.getElementById("confusions").replaceChildren(
    el("h2", { id: "confusions-title" }, "Confusions"),
    el("p", {}, `Of the ${of} that the filters below keep; each name is a filter.`),
    el("div", { class: "facets" },
      facet("Pairs", ["label → prediction", "errors"], pairs.map(([key, count]) => {
        const [label, prediction] = [Math.floor(key / 1000), key % 1000];
        return facetRow(`${shortName(label)} → ${shortName(prediction)}`, { label, prediction }, count, mostPairs);
      })),
      listClasses(free),
      facet("Superclasses", ["of the original label", "errors"], supers.map(([code, count]) =>
        facetRow(superclassTitle(code), { superclass: errors.superclass_names[code] }, count, mostSupers)))));
}

// Original labels, those first that exceed most what is expected. That is known of all errors of a class together:
// where a filter leaves some of them out, those with the most errors come first.
function listClasses(rows) {
  const of = data.class_errors, isPart = ["type", "group", "text", "right", "half", "vs"].some((key) => state[key]);
  const expected = isPart ? null : of.expected, counts = countBy(rows, (row) => [errors.label[row]]);
  if (expected) counts.sort((a, b) => (b[1] - expected[b[0]]) - (a[1] - expected[a[0]]));
  const listed = counts.slice(0, NUM_LISTED), most = Math.max(...listed.map((one) => one[1]));
  const star = (label) => of.stands_out.includes(label) ? el("b", {}, "*") : null;
  const list = facet(expected ? "Classes by errors above what is expected" : "Classes",
    ["original label", "errors", ...(expected ? ["expected"] : []), "images"],
    listed.map(([label, count]) => facetRow(shortName(label), { label, prediction: undefined }, count, most,
      ...(expected ? [[round(expected[label]), star(label)]] : []), num(of.num_images[label]))));
  if (!isPart) list.append(el("p", { class: "key" }, expected
    ? `Expected: from the errors of ${num(of.num_models)} other models, their odds multiplied by one factor that gives`
      + " as many errors as this model has. * stands out (p <= 0.05 after Holm's correction)."
    : "How many errors to expect of a class is known with five other models in the artefacts folder that predict the"
      + ` same images; here are ${num(of.num_models)}.`));
  return list;
}

function superclassTitle(code) {
  const text = errors.superclass_names[code], id = data.wordnet_ids.indexOf(text);
  return id < 0 ? text.replaceAll("_", " ") : `${shortName(id)} (a class of its own)`;
}

function renderComparisons() {
  const section = document.getElementById("comparisons");
  data.comparisons.forEach((pair, at) => section.append(
    el("h2", {}, "Compared with ", name(pair.name)), el("p", {}, name(pair.heading[0]), ". ", pair.heading[1]),
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Shares compared with ${pair.name}` },
      differenceTable(pair)),
    el("h3", {}, "Images by what both models make of them"),
    el("p", {}, "Each number is a filter. Rows: this model; columns: the other."),
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Transitions to ${pair.name}` },
      transitionTable(pair, at)),
    el("ul", {}, pair.consistency.map((one) => el("li", {}, describeConsistency(one)))),
    ...pair.notes.map((note) => el("p", { class: "key" }, note))));
  section.hidden = !data.comparisons.length;
}

function describeConsistency(one) {
  const [both, first, second] = [one.both_wrong, one.only_first_wrong, one.only_second_wrong].map(num);
  return `Wrong by ${one.wrong_by === "top1" ? "top-1" : "multi-label"}: both on ${both} images, only the first on`
    + ` ${first}, only the second on ${second} (p = ${one.p_value.toPrecision(2)}); kappa ${round(one.kappa, 3)}.`;
}

function differenceTable(pair) {
  const titles = { top1_accuracy: "top-1 accuracy", multi_label_accuracy: "multi-label accuracy" };
  const bound = (one, value) => (one.is_bound && value != null ? "≤" : "") + round(value, 2);
  const rows = pair.shares.map((one) => el("tr", { "data-share": one.share },
    el("th", { scope: "row" }, titles[one.share] ?? typeTitle(typeCodes.get(one.share)),
      el("small", {}, ` of ${one.denominator}`)),
    el("td", { class: "n" }, bound(one, one.first)), el("td", { class: "n" }, bound(one, one.second)),
    el("td", { class: "n" }, signed(one.difference)),
    el("td", { class: "n" }, one.low == null ? UNKNOWN_TEXT : `${signed(one.low)} to ${signed(one.high)}`)));
  return makeTable(["percent", "this model (first)", "other (second)", "difference", "95 %"], rows,
    { class: "differences" });
}

function transitionTable(pair, at) {
  const rows = pair.transitions.map((line) => el("tr", {},
    el("th", { scope: "row" }, typeTitle(typeCodes.get(line.first))),
    data.types.map((other) => transitionCell(line.first, other, line[other.name], at))));
  return makeTable(["from \\ to", ...data.types.map((one) => one.title)], rows, { class: "transitions" });
}

function transitionCell(first, other, count, at) {
  const isSame = first === other.name, isRight = isSame && first === "correct";
  const label = `${num(count ?? 0)} images: ${typeTitle(typeCodes.get(first))} to ${other.title}`;
  return el("td", { class: isSame ? "n same" : "n" }, count == null ? UNKNOWN_TEXT : !count || isRight ? num(count)
    : filterLink(num(count), { type: first, vs: `${at}.${other.name}` }, true, label));
}
