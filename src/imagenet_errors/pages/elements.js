// What the pages of errors share: their data, elements, numbers, names of classes and error types.
const data = JSON.parse(document.getElementById("data").textContent);
const CORRECT = 0, UNKNOWN_TEXT = "–";
const num = (value) => value.toLocaleString("en");
const round = (value, digits = 1) => value == null ? UNKNOWN_TEXT : value.toFixed(digits);
const interval = (low, high, digits = 1) =>
  low == null || high == null ? UNKNOWN_TEXT : `${round(low, digits)}–${round(high, digits)}`;

const typeCodes = new Map(data.types.map((one, code) => [one.name, code]));
const typeTitle = (code) => data.types[code].title;
const className = (id) => data.classes[id];

// The first of a class's names; more of it where other classes share that.
const countNames = (names) => names.reduce((counts, one) => counts.set(one, (counts.get(one) ?? 0) + 1), new Map());
const firstName = (id) => className(id).split(",")[0];
const ids = data.classes.map((_, id) => id);
const numFirst = countNames(ids.map(firstName)), numFull = countNames(data.classes);
const shortNames = ids.map((id) => numFirst.get(firstName(id)) === 1 ? firstName(id)
  : numFull.get(className(id)) === 1 ? className(id) : `${className(id)} (${id})`);
const shortName = (id) => shortNames[id];

// An element: el("td", {class: "n"}, "text", child); texts are never read as HTML.
function el(name, attributes = {}, ...children) {
  const svg = ["svg", "rect", "path", "text"].includes(name);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value != null) element.setAttribute(key, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child != null));
  return element;
}

const name = (text) => el("bdi", {}, text);

// The first column is of names, the others of numbers; a heading may be an element.
function makeTable(headings, rows, attributes = {}) {
  const head = headings.map((text, column) => el("th", { scope: "col", class: column ? "n" : "" }, text));
  return el("table", attributes, el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows));
}
