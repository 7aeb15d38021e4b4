// What the page holds, and what of it is chosen. The choice is kept in the address, after the
// place: `#stream-digits--accuracy?hide=l2&measure=dead&layer=2`.
const read = (id) => JSON.parse(document.getElementById(id).textContent);
const page = read("data");
const MOST_STREAMS = 12; // shown unless others are asked for

const nothingChosen = () => ({
  hidden: new Set(), // methods
  away: new Set([...page.streams.keys()].filter((place) => place >= MOST_STREAMS)),
  measure: page.measures[0]?.name ?? "",
  layer: "", // of the measure; "" is the mean over layers
  seeds: false, // whether single seeds are drawn
  theme: "", // "light", "dark", or as the system has it
  views: new Map(), // of figures that show another than their first
});
let chosen = nothingChosen();

const sameSet = (one, other) => one.size === other.size && [...one].every((each) => other.has(each));

function addressed() {
  const query = new URLSearchParams(), plain = nothingChosen();
  for (const name of chosen.hidden) query.append("hide", name);
  if (!sameSet(chosen.away, plain.away)) {
    const shown = page.streams.filter((_, place) => !chosen.away.has(place));
    for (const stream of shown.length ? shown : [{ anchor: "none" }]) query.append("stream", stream.anchor);
  }
  for (const name of ["measure", "layer", "theme"]) {
    if (chosen[name] !== plain[name]) query.set(name, chosen[name]);
  }
  if (chosen.seeds) query.set("seeds", "single");
  for (const [figure, view] of chosen.views) query.append("view", `${view}~${figure}`);
  return query.toString();
}

function place() {
  return decodeURIComponent(location.hash.slice(1).split("?")[0]);
}

function writeAddress(at = place()) {
  const query = addressed();
  history.replaceState(null, "", `#${encodeURIComponent(at)}${query && `?${query}`}`);
}

function readAddress() {
  const cut = location.hash.indexOf("?");
  const query = new URLSearchParams(cut < 0 ? "" : location.hash.slice(cut + 1));
  chosen = nothingChosen();
  for (const name of query.getAll("hide")) if (name in page.inks) chosen.hidden.add(name);
  if (query.has("stream")) {
    const asked = new Set(query.getAll("stream"));
    chosen.away = new Set([...page.streams.keys()].filter((n) => !asked.has(page.streams[n].anchor)));
  }
  const measure = page.measures.find((one) => one.name === query.get("measure"));
  if (measure) chosen.measure = measure.name;
  if (/^\d+$/.test(query.get("layer"))) chosen.layer = query.get("layer");
  if (["light", "dark"].includes(query.get("theme"))) chosen.theme = query.get("theme");
  chosen.seeds = query.get("seeds") === "single";
  for (const text of query.getAll("view")) {
    const [view, ...name] = text.split("~");
    if (/^\d+$/.test(view)) chosen.views.set(name.join("~"), Number(view));
  }
}
