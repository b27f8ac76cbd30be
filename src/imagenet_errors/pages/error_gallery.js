// What the card of an error and its dialog show.
const CARD_REMS = data.images ? 19.5 : 9.6;

function fillCard(row) {
  return [
    el("span", { class: "tag" }, typeTitle(errors.type[row]), provisional.has(row) ? "?" : ""),
    el("span", { class: "line" }, el("span", { class: "what" }, "label "), name(shortName(errors.label[row]))),
    el("span", { class: "line wrong" }, el("span", { class: "what" }, "predicted "),
      name(shortName(errors.prediction[row])), formatProbability(row, " ", 0)),
    el("span", { class: "line" }, el("span", { class: "what" }, "accepted "),
      name(errors.accepted[row].map(shortName).join(", ") || "none")),
  ];
}

function formatProbability(row, before, digits) {
  const value = errors.probability[row];
  return value == null ? "" : `${before}${(100 * value).toFixed(digits)}\u00a0%`;
}

function describeTitle(row) {
  return [name(shortName(errors.label[row])), " → ", name(shortName(errors.prediction[row]))];
}

function describeImage(row) {
  const full = (id) => name(`${className(id)} (${id}, ${data.wordnet_ids[id]})`);
  const list = (ids) => ids.length ? el("ul", {}, ids.map((id) => el("li", {}, full(id)))) : "none";
  const doubt = provisional.has(row) ? " (the open-world test could change it)" : "";
  const facts = [
    ["File", name(errors.file[row])],
    ["Original label", full(errors.label[row])],
    ["Accepted labels", list(errors.accepted[row])],
    ["Prediction", [full(errors.prediction[row]), formatProbability(row, ", ", 1)]],
    ["Error type", typeTitle(errors.type[row]) + doubt],
    ["Groups", groupsOf(row).join(", ") || "none"],
    ["Superclasses of the original label", errors.superclasses[row].map(superclassTitle).join(", ") || "none"],
    ["Reason", el("ul", {}, errors.reason[row].map((code) => el("li", {}, name(errors.sentences[code]))))],
  ];
  const ranked = errors.top5?.[row]?.map((id) => el("li", {}, full(id)));
  if (ranked) facts.push(["Five most probable classes", el("ol", {}, ranked)]);
  if (errors.nearest?.[row]) facts.push(["Nearest training images", list(errors.nearest[row])]);
  if (errors.num_others[row]) facts.push(["Other models that predict the same",
    `${num(errors.num_same[row])} of ${num(errors.num_others[row])}`]);
  for (const one of compared) facts.push([["Prediction of ", name(one.name)], one.type[row] === UNKNOWN ? "unknown"
    : [full(one.prediction[row]), `: ${typeTitle(one.type[row])}`]]);
  return el("dl", {}, facts.map(([what, value]) => [el("dt", {}, what), el("dd", {}, value)]));
}
