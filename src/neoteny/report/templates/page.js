// Controls, and what they do.
const SVG = "http://www.w3.org/2000/svg";
const corners = (count, turn, inner = 0) => Array.from({ length: inner ? 2 * count : count }, (_, n) => {
  const angle = turn + (2 * Math.PI * n) / (inner ? 2 * count : count), r = inner && n % 2 ? inner : 1;
  return `${14 + 5 * r * Math.cos(angle)},${7 + 5 * r * Math.sin(angle)}`;
}).join(" ");
const up = -Math.PI / 2;
const cross = (turn) => Array.from({ length: 12 }, (_, n) => {
  const angle = turn + (Math.PI / 2) * Math.floor(n / 3) + [-0.32, 0.32, Math.PI / 4][n % 3];
  const r = n % 3 === 2 ? 0.45 : 1;
  return `${14 + 5 * r * Math.cos(angle)},${7 + 5 * r * Math.sin(angle)}`;
}).join(" ");
const SHAPES = { circle: corners(24, 0), square: corners(4, Math.PI / 4), diamond: corners(4, 0),
  "triangle-up": corners(3, up), "triangle-down": corners(3, -up), "triangle-left": corners(3, Math.PI),
  "triangle-right": corners(3, 0), pentagon: corners(5, up), hexagon: corners(6, 0),
  star: corners(5, up, 0.45), "star-square": corners(4, Math.PI / 4, 0.5), cross: cross(0),
  x: cross(Math.PI / 4), bowtie: "9,3 9,11 19,3 19,11" };

// A stroke and a marker beside a name, as its lines have them.
function swatches(root) {
  root.querySelectorAll("i[data-ink]").forEach((swatch) => {
    const { light, dark, symbol } = inkOf(swatch.dataset.ink);
    swatch.style.setProperty("--swatch", `light-dark(${light}, ${dark})`);
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", "0 0 28 14");
    svg.setAttribute("aria-hidden", "true");
    const draw = (tag, attributes) => {
      const made = document.createElementNS(SVG, tag);
      for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
      svg.append(made);
    };
    draw("line", { x1: 1, y1: 7, x2: 27, y2: 7 });
    if (SHAPES[symbol] && !swatch.classList.contains("dashed")) draw("polygon", { points: SHAPES[symbol] });
    swatch.replaceChildren(svg);
  });
}

// Everything that is not a figure follows what is chosen.
function settle() {
  document.documentElement.dataset.theme = chosen.theme;
  document.getElementById("theme").value = chosen.theme;
  document.getElementById("seeds").checked = chosen.seeds;
  pressKeys(document);
  const boxes = [...document.querySelectorAll("#streams input")];
  boxes.forEach((box) => { box.checked = !chosen.away.has(Number(box.value)); });
  const shown = page.streams.length - chosen.away.size;
  document.getElementById("streams-shown").textContent =
    shown === page.streams.length ? `all ${shown}` : `${shown} of ${page.streams.length}`;
  document.querySelectorAll(".stream-section").forEach((one, n) => { one.hidden = chosen.away.has(n); });
  document.querySelectorAll("#contents [data-stream]").forEach((one, n) => { one.hidden = chosen.away.has(n); });
  document.getElementById("measure").value = chosen.measure;
  fillLayers();
}

function choose(change, ...rearranged) {
  change();
  writeAddress();
  settle();
  rearranged.forEach(arrange);
  repaint();
}

function toggle(set, value) {
  if (!set.delete(value)) set.add(value);
}

function singleOut(key) {
  const others = Object.keys(page.inks).filter((name) => name !== key);
  const alone = others.every((name) => chosen.hidden.has(name)) && isShown(key);
  chosen.hidden = new Set(alone ? [] : others);
}

function fillStreams() {
  document.getElementById("streams").append(...page.streams.map(({ heading }, n) => element("label", {},
    [element("input", { type: "checkbox", value: n }), heading])));
}

function goTo(name) {
  const target = document.getElementById(name);
  const section = target?.closest(".stream-section");
  const hidden = [...document.querySelectorAll(".stream-section")].indexOf(section);
  if (hidden >= 0 && chosen.away.has(hidden)) choose(() => chosen.away.delete(hidden), ...comparing());
  target?.scrollIntoView();
  return target;
}

const comparing = () => (compared && page.measures.length ? [compared] : []);

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='#']"), button = event.target.closest("button");
  if (link) {
    event.preventDefault();
    const name = decodeURIComponent(link.hash.slice(1));
    writeAddress(name);
    goTo(name)?.focus({ preventScroll: true });
  } else if (button?.dataset.view !== undefined) {
    const figure = button.closest("[data-figure]");
    choose(() => chosen.views.set(figure.id, Number(button.dataset.view)), figure);
  } else if (button?.dataset.key !== undefined && !event.shiftKey) {
    choose(() => toggle(chosen.hidden, button.dataset.key));
  } else if (button?.dataset.key !== undefined) {
    choose(() => singleOut(button.dataset.key));
  } else if (button?.id === "reset") {
    const views = [...chosen.views.keys()].map((name) => document.getElementById(name));
    choose(() => { chosen = nothingChosen(); }, ...comparing(), ...views.filter(Boolean));
  } else if (button?.dataset.streams) {
    const none = button.dataset.streams === "none";
    choose(() => { chosen.away = new Set(none ? page.streams.keys() : []); }, ...comparing());
  }
});
document.addEventListener("dblclick", (event) => {
  const key = event.target.closest("button")?.dataset.key;
  if (key !== undefined) choose(() => singleOut(key));
});
document.addEventListener("change", ({ target }) => {
  if (target.id === "measure") choose(() => { chosen.measure = target.value; }, ...comparing());
  if (target.id === "layer") choose(() => { chosen.layer = target.value; }, ...comparing());
  if (target.id === "theme") choose(() => { chosen.theme = target.value; });
  if (target.id === "seeds") choose(() => { chosen.seeds = target.checked; });
  if (target.closest("#streams")) choose(() => toggle(chosen.away, Number(target.value)), ...comparing());
  if (target.matches("select.view")) {
    const figure = target.closest("[data-figure]");
    choose(() => chosen.views.set(figure.id, Number(target.value)), figure);
  }
});
// Arrows move along a row of buttons; Escape closes the list of streams.
document.addEventListener("keydown", (event) => {
  const row = event.target.closest(".keys"), menu = event.target.closest("details.menu");
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (row && step && event.target.matches("button")) {
    const buttons = [...row.querySelectorAll("button")];
    buttons[(buttons.indexOf(event.target) + step + buttons.length) % buttons.length].focus();
    event.preventDefault();
  }
  if (menu && event.key === "Escape") {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});
document.addEventListener("toggle", ({ target }) => {
  if (target.matches?.(".numbers") && target.open) tabulate(target.closest("[data-figure]"));
}, true);
prefersDark.addEventListener("change", repaint);
addEventListener("hashchange", () => {
  readAddress();
  settle();
  figures.filter((figure) => figure !== compared).concat(comparing()).forEach(arrange);
  repaint();
  goTo(place());
});
addEventListener("beforeprint", () => { printing = true; paintAll(); });
addEventListener("afterprint", () => { printing = false; repaint(); });

readAddress();
fillStreams();
if (comparing().length) fillMeasures();
else if (compared) compared.hidden = true;
swatches(document);
settle();
for (const name of chosen.views.keys()) {
  const figure = document.getElementById(name);
  if (figures.includes(figure)) arrange(figure);
}
comparing().forEach(arrange);
// Plotly is read after this, as it takes most of the time.
addEventListener("DOMContentLoaded", () => {
  const watcher = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (isIntersecting) near.add(target);
      else near.delete(target);
      if (isIntersecting) ask(target);
    }
  }, { rootMargin: "500px" });
  figures.forEach((figure) => watcher.observe(figure));
  if (place()) goTo(place());
});
