// The figure that shows any measure, of any layer, stream by stream.
const compared = document.getElementById("compare");

const measureNow = () => page.measures.find((one) => one.name === chosen.measure);

function comparison() {
  const measure = measureNow();
  const layer = measure.layers.includes(Number(chosen.layer)) ? chosen.layer : "";
  const column = layer ? `${measure.name}_${layer}` : measure.name;
  const unit = measure.unit && measure.unit !== "count" ? `, ${measure.unit}` : "";
  const of = layer ? `, layer ${layer}` : "";
  const panels = [...page.streams.keys()].filter((n) => !chosen.away.has(n)).map((n) => {
    const source = `data-${n}`, found = documentOf(source).measures[column] ?? {};
    const keys = Object.keys(page.inks).filter((key) => key in found);
    const series = keys.map((key) => ({ key, label: key, kind: "line", column }));
    const [low, high] = extent(keys.flatMap((key) => [...floats(found[key][1])]));
    const log = measure.unit !== "share" && low > 0 && high > 30 * low;
    return { title: page.streams[n].heading, source, series,
      x: { label: "task" }, y: { label: `${measure.label}${of}${unit}`, log } };
  });
  const means = measure.means && `${measure.label}: ${measure.means}. `;
  return { label: measure.label, panels, note: means };
}

function fillMeasures() {
  const groups = new Map();
  for (const one of page.measures) {
    if (!groups.has(one.group)) groups.set(one.group, element("optgroup", { label: one.group }));
    groups.get(one.group).append(element("option", { value: one.name }, [one.label]));
  }
  document.getElementById("measure").replaceChildren(...groups.values());
}

function fillLayers() {
  const layers = measureNow()?.layers ?? [], list = document.getElementById("layer");
  list.replaceChildren(element("option", { value: "" }, [layers.length ? "mean over layers" : "whole network"]),
    ...layers.map((layer) => element("option", { value: layer }, [`layer ${layer}`])));
  list.disabled = !layers.length;
  list.value = layers.includes(Number(chosen.layer)) ? chosen.layer : "";
}
