// The place among the reference's models: a panel per error type, its share over the multi-label accuracy.
const PANEL = { width: 220, height: 140, left: 30, right: 8, top: 8, bottom: 24 };
const modelAccuracy = data.profile.accuracies.find((one) => one.name === "multi_label").value;

function drawPlaces(lines, group) {
  if (!data.reference) return null;
  const shares = data.reference.shares[group], curves = data.reference.curves[group];
  return el("div", { class: "places" },
    lines.map((line) => drawPanel(line, shares[line.error_type], curves[line.error_type])));
}

function drawPanel(line, shares, curve) {
  const { mla } = data.reference;
  const known = shares.map((share, at) => [mla[at], share]).filter((point) => point[1] != null);
  const values = [...known.map((point) => point[1]), line.share_high ?? 0, line.share ?? 0, 1];
  const [low, high, top] = [Math.min(...mla), Math.max(...mla), Math.max(...values) * 1.05];
  const x = (value) => PANEL.left + ((value - low) / (high - low)) * (PANEL.width - PANEL.left - PANEL.right);
  const y = (value) => PANEL.height - PANEL.bottom - (value / top) * (PANEL.height - PANEL.top - PANEL.bottom);
  const at = (px, py) => `${x(px).toFixed(1)} ${y(py).toFixed(1)}`;
  const path = (kind, points) => points.length ? el("path", { class: kind, d: `M${points.join("L")}` }) : null;
  const text = (px, py, anchor, value) => el("text", { x: px, y: py, "text-anchor": anchor }, value);
  const bottom = PANEL.height - PANEL.bottom;
  const along = (values) => curve ? values.map((value, point) => at(curve.mla[point], Math.max(value, 0))) : [];
  const title = typeTitle(typeCodes.get(line.error_type));
  const drawing = el("svg", { viewBox: `0 0 ${PANEL.width} ${PANEL.height}`, role: "img", "aria-label":
    `${title}: ${formatShare(line)} percent at an MLA of ${round(modelAccuracy)}; expected ${round(line.expected)}` },
    path("curve-band", [...along(curve?.low), ...along(curve?.high).reverse()]),
    el("path", { class: "models", d: known.map((point) => `M${at(...point)}h0`).join("") }),
    path("curve", along(curve?.expected)),
    path("axis", [`${PANEL.left} ${PANEL.top}`, `${PANEL.left} ${bottom}`, `${PANEL.width - PANEL.right} ${bottom}`]),
    text(PANEL.left - 3, bottom, "end", "0"), text(PANEL.left - 3, PANEL.top + 8, "end", top.toFixed(0)),
    text(x(low), bottom + 16, "middle", low.toFixed(0)), text(x(high), bottom + 16, "end", high.toFixed(0)),
    text(PANEL.width / 2, bottom + 16, "middle", "MLA"), drawModel(line, x, y, text));
  return el("figure", {}, el("figcaption", {}, title, el("small", {}, ` % of ${line.denominator}`)), drawing);
}

function drawModel(line, x, y, text) {
  const unknown = text(PANEL.left + 6, PANEL.top + 10, "start", "unknown");
  if (modelAccuracy == null || line.share_high == null) return [unknown];
  const px = x(modelAccuracy);
  const whisker = line.is_upper_bound ? null
    : el("path", { class: "model-interval", d: `M${px} ${y(line.share_low)}L${px} ${y(line.share_high)}` });
  if (line.share == null) return [whisker];
  const py = y(line.share);
  return line.is_upper_bound // an arrow that points down: at most
    ? [el("path", { class: "model-interval", d: `M${px} ${py}v14m-4 -5l4 5l4 -5` })]
    : [whisker, el("path", { class: "model", d: `M${px} ${py - 4}l4 4l-4 4l-4 -4z` })];
}
