// Which errors a filter keeps.
const errors = data.errors, compared = errors.compared, files = errors.file, numErrors = files.length;
const UNKNOWN = -1;
const superclassCodes = new Map(errors.superclass_names.map((name, code) => [name, code]));
const provisional = new Set(errors.provisional);

const lowerFiles = errors.file.map((file) => file.toLowerCase());
const lowerClasses = data.classes.map((text) => text.toLowerCase());

// Whether the file or a class of an error has this text, which is in lower case.
function makeSearch(text) {
  const hasText = lowerClasses.map((description) => description.includes(text));
  return (row) => hasText[errors.label[row]] || hasText[errors.prediction[row]] ||
    errors.accepted[row].some((id) => hasText[id]) || lowerFiles[row].includes(text);
}

// Tests of a row, all of which an error has to pass; the keys of a filter are those of VALID, its values are texts.
function makeTests(filter) {
  const tests = [];
  const add = (key, test) => { if (filter[key]) tests.push(test); };
  const type = filter.type ? typeCodes.get(filter.type) : null;
  tests.push(filter.type ? (row) => errors.type[row] === type : (row) => errors.type[row] !== CORRECT);
  const bit = 1 << data.groups.indexOf(filter.group);
  add("group", (row) => (errors.groups[row] & bit) !== 0);
  const superclass = superclassCodes.get(filter.superclass);
  add("superclass", (row) => errors.superclasses[row].includes(superclass));
  add("label", (row) => errors.label[row] === Number(filter.label));
  add("prediction", (row) => errors.prediction[row] === Number(filter.prediction));
  if (filter.text) tests.push(makeSearch(filter.text.toLowerCase()));
  add("right", (row) => compared[Number(filter.right)]?.type[row] === CORRECT);
  const [model, name] = (filter.vs ?? "").split(".");
  const other = typeCodes.get(name);
  add("vs", (row) => compared[Number(model)]?.type[row] === other);
  add("half", (row) => errors.num_others[row] > 0 && 2 * errors.num_same[row] >= errors.num_others[row]);
  return tests;
}

function selectErrors(filter, without = []) {
  const kept = { ...filter };
  for (const key of without) delete kept[key];
  const tests = makeTests(kept), rows = [];
  for (let row = 0; row < numErrors; row++) if (tests.every((test) => test(row))) rows.push(row);
  return rows;
}

const SORTS = {
  file: null,
  confident: (row) => -(errors.probability[row] ?? -1),
  unsure: (row) => errors.probability[row] ?? 2,
  common: (row) => -errors.num_same[row],
  rare: (row) => errors.num_same[row],
};

function sortErrors(rows, name) {
  const key = SORTS[name];
  return key ? rows.slice().sort((a, b) => key(a) - key(b) || a - b) : rows;
}

// [[key, count], ...], the most frequent first; ties in the order of the errors.
function countBy(rows, keysOf) {
  const counts = new Map();
  for (const row of rows) for (const key of keysOf(row)) counts.set(key, (counts.get(key) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1]);
}

function toCsv(rows) {
  const cell = (value) => `"${String(value ?? "").replaceAll('"', '""')}"`;
  const names = (ids) => (ids ?? []).map(className).join("; ");
  const head = ["file", "label_id", "label", "accepted", "prediction_id", "prediction", "probability", "error_type",
    "groups", "superclasses", "num_same", "num_others", "reason", "nearest",
    ...compared.flatMap((one) => [`prediction of ${one.name}`, `error type of ${one.name}`])];
  const lines = rows.map((row) => [
    errors.file[row], errors.label[row], className(errors.label[row]), names(errors.accepted[row]),
    errors.prediction[row], className(errors.prediction[row]), errors.probability[row],
    data.types[errors.type[row]].name, groupsOf(row).join("; "),
    errors.superclasses[row].map((code) => errors.superclass_names[code]).join("; "),
    errors.num_same[row], errors.num_others[row],
    errors.reason[row].map((code) => errors.sentences[code]).join(" "), names(errors.nearest?.[row]),
    ...compared.flatMap((one) => one.type[row] === UNKNOWN ? ["", ""]
      : [className(one.prediction[row]), data.types[one.type[row]].name]),
  ]);
  return [head, ...lines].map((line) => line.map(cell).join(",")).join("\n") + "\n";
}

function groupsOf(row) {
  return data.groups.filter((_, position) => errors.groups[row] & (1 << position));
}
