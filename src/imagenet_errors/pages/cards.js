// A gallery: only the cards in sight exist, and each opens a dialog. The page's own scripts have `files`, CARD_REMS (the
// height of a card), `fillCard`, `describeTitle` and `describeImage` of a row, and `state`; gallery_page.js
// has `openDetails` and `closeDetails`.
const CARD_WIDTH = 230, GAP = 12, MOST_PRINTED = 24;
let shown = []; // rows that the filter keeps, in their order
let current = 0; // position among `shown` of the card that the keyboard is on
const cards = new Map(); // {position among `shown`: element}
const rowOfFile = new Map(files.map((file, row) => [file, row]));

const scroller = el("div", { class: "scroller", tabindex: "-1", onscroll: () => drawCards(), onkeydown: moveByKey });
const spacer = el("div", { class: "spacer", role: "list", "aria-label": "Cards" });
scroller.append(spacer);

function layout() {
  const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
  const columns = Math.max(1, Math.floor((scroller.clientWidth + GAP) / (CARD_WIDTH + GAP)));
  const width = (scroller.clientWidth - GAP * (columns - 1)) / columns, height = CARD_REMS * rem + GAP;
  return { columns, width, height };
}

function showCards(rows) {
  shown = rows;
  current = 0;
  scroller.scrollTop = 0;
  redrawCards();
}

function redrawCards() {
  cards.clear();
  spacer.replaceChildren();
  const { columns, height } = layout();
  spacer.style.height = `${Math.max(Math.ceil(shown.length / columns) * height - GAP, 0)}px`;
  drawCards();
}

function drawCards() {
  const { columns, width, height } = layout();
  const first = Math.max(0, Math.floor(scroller.scrollTop / height) - 1) * columns;
  const last = Math.min(shown.length, (Math.ceil((scroller.scrollTop + scroller.clientHeight) / height) + 1) * columns);
  for (const [at, card] of cards) {
    if ((at < first || at >= last) && !card.contains(document.activeElement)) { card.remove(); cards.delete(at); }
  }
  for (let at = first; at < last; at++) {
    if (!cards.has(at)) {
      const card = makeCard(at);
      card.style.cssText = `left:${(at % columns) * (width + GAP)}px;top:${Math.floor(at / columns) * height}px;` +
        `width:${width}px;height:${height - GAP}px`;
      cards.set(at, card);
      spacer.append(card);
    }
  }
}

function makeCard(at) {
  const row = shown[at];
  return el("div", { role: "listitem", class: "item", "aria-posinset": at + 1, "aria-setsize": shown.length },
    el("button", { type: "button", class: "card", "data-row": row, tabindex: at === current ? "0" : "-1",
      "aria-haspopup": "dialog", onclick: () => { current = at; openDetails(row); }, onfocus: () => setCurrent(at) },
      picture(row), fillCard(row)));
}

function picture(row) {
  if (!data.images) return null;
  const held = data.images.embedded[row];
  if (held) return el("img", { alt: "", src: `data:image/jpeg;base64,${held}` });
  if (!data.images.has[row]) return el("span", { class: "no-picture" }, name(files[row]));
  const parts = files[row].split("/");
  const path = (data.images.is_flat ? parts.slice(-1) : parts).map(encodeURIComponent).join("/");
  return el("img", { loading: "lazy", decoding: "async", alt: "", src: `${data.images.base}/${path}` });
}

function setCurrent(at) {
  cards.get(current)?.firstChild.setAttribute("tabindex", "-1");
  current = at;
  cards.get(at)?.firstChild.setAttribute("tabindex", "0");
}

function focusCard(at) {
  if (!shown.length) return;
  at = Math.min(Math.max(at, 0), shown.length - 1);
  const { columns, height } = layout(), top = Math.floor(at / columns) * height;
  const highest = top + height - scroller.clientHeight; // the least scroll position that shows all of the card
  scroller.scrollTop = Math.max(Math.min(scroller.scrollTop, top), highest);
  drawCards();
  cards.get(at).firstChild.focus({ preventScroll: true });
}

function moveByKey(event) {
  const { columns, height } = layout(), page = Math.max(1, Math.floor(scroller.clientHeight / height)) * columns;
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, PageDown: page, PageUp: -page,
    Home: -shown.length, End: shown.length };
  if (!(event.key in steps)) return;
  event.preventDefault();
  focusCard(current + steps[event.key]);
}

const dialog = document.getElementById("details");
dialog.addEventListener("cancel", (event) => { event.preventDefault(); closeDetails(); });
dialog.addEventListener("click", (event) => { if (event.target === dialog) closeDetails(); });
dialog.addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (step) { event.preventDefault(); stepDetails(step); }
});

function renderDetails(row) {
  const at = shown.indexOf(row);
  const button = (text, onclick, disabled = false) => el("button", { type: "button", onclick, disabled }, text);
  const focused = dialog.contains(document.activeElement) ? document.activeElement.textContent : null;
  dialog.replaceChildren(
    el("div", { class: "bar-of-dialog" },
      el("h2", { id: "details-title" }, describeTitle(row)),
      button("Previous", () => stepDetails(-1), at <= 0),
      button("Next", () => stepDetails(1), at < 0 || at >= shown.length - 1),
      button("Close", closeDetails)),
    el("div", { class: "facts" }, picture(row), describeImage(row)));
  if (!dialog.open) dialog.showModal();
  const buttons = [...dialog.querySelectorAll("button:enabled")];
  (buttons.find((one) => one.textContent === focused) ?? buttons.at(-1)).focus();
  dialog.scrollTop = 0;
}

function stepDetails(step) {
  const at = shown.indexOf(rowOfFile.get(state.open)) + step;
  if (at < 0 || at >= shown.length) return;
  setCurrent(at);
  navigate({ ...state, open: files[shown[at]] }, { replace: true });
}

// Printing shows the first cards in the flow of the page.
addEventListener("beforeprint", () => {
  spacer.style.height = "auto";
  spacer.classList.add("printed");
  spacer.replaceChildren(...shown.slice(0, MOST_PRINTED).map((_, at) => makeCard(at)));
  if (shown.length > MOST_PRINTED) spacer.after(el("p", { id: "printed-note" }, `The first ${MOST_PRINTED} cards are printed.`));
});
addEventListener("afterprint", () => {
  spacer.classList.remove("printed");
  document.getElementById("printed-note")?.remove();
  redrawCards();
});
