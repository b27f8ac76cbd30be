// What pages with a gallery share: changes of the address, controls, the opened card and keys. A page's own scripts have
// `state`, `toAddress` and `update`, and `controls.text` is its search field.
const controls = {};

function navigate(next, { replace = false, opened = false } = {}) {
  history[replace ? "replaceState" : "pushState"](replace ? history.state : { opened }, "", toAddress(next));
  update();
}

function openDetails(row) { navigate({ ...state, open: files[row] }, { opened: true }); }

function closeDetails() {
  if (history.state?.opened) history.back();
  else navigate({ ...state, open: null }, { replace: true });
}

// Opens or closes the dialog as the address says.
function showOpened() {
  if (state.open) renderDetails(rowOfFile.get(state.open));
  else if (dialog.open) {
    const at = current; // closing gives the focus back to the card that was opened first
    dialog.close();
    focusCard(at);
  }
}

function addControl(key, label, options) {
  const onchange = () => navigate({ ...state, [key]: control.value, open: null });
  const control = el("select", { id: `filter-${key}`, onchange },
    options.map(([value, text]) => el("option", { value }, text)));
  controls[key] = control;
  return el("div", { class: "control" }, el("label", { for: control.id }, label), control);
}

function listenToPage() {
  addEventListener("popstate", update);
  addEventListener("resize", redrawCards);
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    document.getElementById("gallery").scrollIntoView();
    focusCard(current);
  });
  addEventListener("keydown", (event) => {
    if (event.key === "/" && !dialog.open && !/INPUT|SELECT|TEXTAREA/.test(event.target.tagName)) {
      event.preventDefault();
      controls.text.focus();
    }
  });
}
