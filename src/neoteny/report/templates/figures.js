// Figures: their boxes and legends, drawn when they come near, and painted anew when what is
// chosen changes.
function element(tag, attributes, children = []) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const figures = [...document.querySelectorAll("[data-figure]")];
const near = new Set(); // figures in sight, or nearly
const waiting = []; // to be painted, one at a time
const painted = new WeakMap(); // figure -> what was chosen when it was painted

function sourceOf(figure) {
  const stream = page.streams.findIndex(({ anchor }) => figure.id.startsWith(`${anchor}--`));
  return stream < 0 ? "data-over-all" : `data-${stream}`;
}

function viewOf(figure) {
  if (figure === compared) return comparison();
  const views = documentOf(sourceOf(figure)).figures[figure.id];
  return views[chosen.views.get(figure.id)] ?? views[0];
}

const keysOf = (panel) => (panel.heat ? [panel.heat.key] : panel.series.map((one) => one.key));

function sizeInPrint(count) {
  if (!printing) return {};
  return count === 1 ? { width: 680, height: 250 }
    : count === 2 || count === 4 ? { width: 335, height: 200 } : { width: 220, height: 165 };
}

// Named one by one: plotly's own choice includes a button that uploads the chart.
const options = { showSendToCloud: false, plotlyServerURL: "", displaylogo: false, responsive: true,
  modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]] };

function paintPanel(box, panel, source, count) {
  const slot = box.querySelector(".plot");
  const series = panel.series.filter((one) => isShown(one.key)).map((one) => filled(one, source));
  const any = panel.heat ? isShown(panel.heat.key) : series.some((one) => one.x.length);
  // Plotly has no range for a logarithmic axis on which nothing shows.
  box.hidden = !any && keysOf(panel).length > 0;
  if (!any) return;
  slot.setAttribute("role", "img");
  slot.setAttribute("aria-label", described(panel, series));
  Plotly.react(slot, traces(panel, series, source), layout(panel, series, sizeInPrint(count)), options);
}

function paint(figure) {
  const view = viewOf(figure), boxes = [...figure.querySelectorAll(".panel")];
  view.panels.forEach((panel, place) =>
    paintPanel(boxes[place], panel, panel.source ?? sourceOf(figure), view.panels.length));
  legend(figure, view);
  scale(figure, view);
  figure.querySelector(".note").textContent = view.note + (seedsLeftOut(figure, view)
    ? " Single seeds of this were left out of so large a report: write one of fewer runs." : "");
  painted.set(figure, state());
  const numbers = figure.querySelector(".numbers");
  if (numbers.open) tabulate(figure);
}

function seedsLeftOut(figure, view) {
  return chosen.seeds && view.panels.some((panel) => panel.series.some((one) => {
    const { count, single, column } = filled(one, panel.source ?? sourceOf(figure));
    return column && count !== undefined && count !== 1 && !single.length;
  }));
}

function tabulate(figure) {
  const tables = viewOf(figure).panels.map((panel) => [panel, panel.series
    .filter((one) => isShown(one.key)).map((one) => filled(one, panel.source ?? sourceOf(figure)))])
    .filter(([panel, series]) => (panel.heat ? isShown(panel.heat.key) : series.length));
  figure.querySelector(".numbers .scroll").replaceChildren(...tables.map((each) => table(...each)));
}

// Boxes are made anew where another view, measure or choice of streams has others.
function arrange(figure) {
  const view = viewOf(figure), panels = figure.querySelector(".panels");
  panels.querySelectorAll(".plot").forEach((slot) => window.Plotly?.purge(slot));
  panels.dataset.count = view.panels.length;
  panels.classList.toggle("many", view.panels.length === 3 || view.panels.length > 4);
  panels.replaceChildren(...view.panels.map((panel) => {
    const title = panel.title ? [element("p", {}, [panel.title])] : [];
    const none = keysOf(panel).length ? [] : [element("p", { class: "missing" }, ["Not measured here."])];
    return element("div", { class: "panel" }, [...title, ...none, element("div", { class: "plot" })]);
  }));
  const place = chosen.views.get(figure.id) ?? 0;
  figure.querySelectorAll("[data-view]").forEach((button) =>
    button.setAttribute("aria-pressed", String(Number(button.dataset.view) === place)));
  const list = figure.querySelector("select.view");
  if (list) list.value = String(place);
  painted.delete(figure);
}

const state = () => `${addressed()} ${isDark()} ${printing}`;

// What is in sight is painted at once, the rest when it comes into sight.
function ask(figure) {
  if (painted.get(figure) !== state() && !waiting.includes(figure)) waiting.push(figure);
  if (waiting.length === 1) setTimeout(paintNext);
}

function paintNext() {
  const figure = waiting.shift();
  if (figure && near.has(figure) && window.Plotly) paint(figure);
  if (waiting.length) setTimeout(paintNext);
}

function repaint() {
  for (const figure of near) ask(figure);
}

function paintAll() {
  for (const figure of figures) if (figure.checkVisibility()) paint(figure);
}

function legend(figure, view) {
  const kinds = new Map();
  for (const panel of view.panels) for (const key of keysOf(panel)) {
    const series = panel.series.find((one) => one.key === key);
    if (!kinds.has(key)) kinds.set(key, series?.kind);
  }
  const row = figure.querySelector(".legend");
  // Where each panel is one method's, its title says which.
  const titled = view.panels.length > 1 && view.panels.every((one) => new Set(keysOf(one)).size === 1);
  row.hidden = titled && kinds.size > 1;
  const focused = row.contains(document.activeElement) && document.activeElement.dataset.key;
  row.replaceChildren(...(row.hidden ? [] : [...kinds].map(([key, kind]) => {
    const swatch = element("i", { "data-ink": key, ...(kind === "marks" ? { class: "dashed" } : {}) });
    return element("button", { type: "button", "data-key": key }, [swatch, key]);
  })));
  swatches(row);
  pressKeys(row);
  [...row.children].find((button) => button.dataset.key === focused)?.focus();
}

// What the colours of a map stand for.
function scale(figure, view) {
  figure.querySelector(".scale")?.remove();
  const heat = view.panels.find((panel) => panel.heat)?.heat;
  if (!heat) return;
  const bar = element("i", { "aria-hidden": "true" });
  bar.style.background = `linear-gradient(90deg, ${heats().join(", ")})`;
  figure.querySelector(".panels").before(element("p", { class: "scale" }, [
    `${short(10 ** heat.bounds[0])}${heat.unit === "eigenvalues" ? " or fewer" : " or less"}`, bar,
    `${short(10 ** heat.bounds[1])} ${heat.unit} in a cell`]));
}

function pressKeys(root) {
  root.querySelectorAll("button[data-key]").forEach((button) =>
    button.setAttribute("aria-pressed", String(isShown(button.dataset.key))));
}
