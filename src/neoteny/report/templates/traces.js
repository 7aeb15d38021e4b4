// What plotly draws of a panel.
const FEW = 30; // points, each of which has a marker; of more, a few markers tell lines apart

const isShown = (key) => !chosen.hidden.has(key);
const shape = (kind) => (kind.includes("steps") ? "hvh" : "linear");

function band(series) {
  const edge = { x: series.x, mode: "lines", hoverinfo: "skip", showlegend: false,
    line: { width: 0, shape: shape(series.kind) } };
  return [
    { ...edge, y: series.low },
    { ...edge, y: series.high, fill: "tonexty", fillcolor: faded(ink(series.key), 0.16) },
  ];
}

const ofSeeds = (count) => `<br>${count} seed${count === 1 ? "" : "s"}`;

function told(series, panel, source) {
  const range = series.low ? "<br>seeds from %{customdata[0]} to %{customdata[1]}" : "";
  const count = series.count === undefined ? ""
    : typeof series.count === "number" ? ofSeeds(series.count) : "%{customdata[2]}";
  const about = series.kind === "marks" ? [] : configuration(source, series.key);
  const x = panel.x.label === "task" ? "task %{x:.6~g}" : `${plain(panel.x.label)} %{x:.3~g}`;
  return [`<b>${plain(series.label)}</b>, ${x}`,
    `${plain(panel.y.label)} <b>%{y:.4~g}</b>${range}${count}`, ...about.map(plain),
  ].join("<br>") + "<extra></extra>";
}

function line(series, panel, source) {
  const dashed = series.kind.includes("dashed") || series.kind === "marks";
  const few = series.x.length <= FEW, marked = series.kind === "marks" || series.kind === "line";
  const { low, high, count } = series;
  const behind = Array.from(series.x, (_, n) => [low ? short(low[n]) : "", low ? short(high[n]) : "",
    typeof count === "object" ? ofSeeds(count[n]) : ""]);
  return { x: series.x, y: series.y, showlegend: false, customdata: behind,
    mode: marked ? "lines+markers" : "lines",
    line: { color: ink(series.key), width: dashed ? 1.3 : 2, dash: dashed ? "5px,3px" : "solid",
      shape: shape(series.kind) },
    marker: { color: ink(series.key), size: series.kind === "marks" ? 4 : 6.5,
      symbol: series.kind === "marks" ? "circle" : inkOf(series.key).symbol,
      maxdisplayed: few ? 0 : 9 },
    hovertemplate: told(series, panel, source) };
}

function singleSeeds(series, panel, source) {
  return series.single.map(({ seed, x, y }) => ({ x, y, mode: "lines", showlegend: false,
    line: { color: faded(ink(series.key), 0.55), width: 1 },
    hovertemplate: [`<b>${plain(series.label)}, seed ${seed}</b>, task %{x:.6~g}`,
      `${plain(panel.y.label)} <b>%{y:.4~g}</b>`,
      ...configuration(source, series.key, seed).map(plain)].join("<br>") + "<extra></extra>" }));
}

function points(series, panel, source) {
  const about = configuration(source, series.key).map((text) => `<br>${plain(text)}`).join("");
  return { x: series.x, y: series.y, mode: "markers", text: series.notes, showlegend: false,
    marker: { color: faded(ink(series.key), 0.6), size: 7, symbol: inkOf(series.key).symbol,
      line: { width: 0 } },
    hovertemplate: `<b>${plain(series.label)}</b>, %{text}<br>${plain(panel.x.label)} %{x:.4~g}`
      + `<br>${plain(panel.y.label)} <b>%{y:.4~g}</b>${about}<extra></extra>` };
}

function heatMap(heat, source) {
  const [rows, columns] = heat.z.shape, flat = arrayOf(heat.z);
  const z = Array.from({ length: rows }, (_, row) =>
    Array.from(flat.subarray(row * columns, (row + 1) * columns), (v) => (Number.isNaN(v) ? null : v)));
  const text = z.map((line, row) => line.map((value) =>
    `λ ${heat.rows[row]}<br><b>${value === null ? "" : short(10 ** value)}</b> ${heat.unit}`));
  const about = configuration(source, heat.key).map((words) => `<br>${plain(words)}`).join("");
  const colours = heats();
  return { type: "heatmap", x: arrayOf(heat.x), y: arrayOf(heat.y), z, text, showscale: false,
    zmin: heat.bounds[0], zmax: heat.bounds[1], hoverongaps: false,
    colorscale: colours.map((one, place) => [place / (colours.length - 1), one]),
    hovertemplate: `<b>${plain(heat.key)}</b>, task %{x}<br>%{text}${about}<extra></extra>` };
}

function traces(panel, series, source) {
  if (panel.heat) return [heatMap(panel.heat, source)];
  const clouds = series.filter((one) => one.kind === "points");
  const lines = series.filter((one) => one.kind !== "points");
  const single = chosen.seeds ? lines.flatMap((one) => singleSeeds(one, panel, source)) : [];
  const bands = lines.filter((one) => one.low && !(chosen.seeds && one.single.length));
  return [...bands.flatMap(band), ...single, ...lines.map((one) => line(one, panel, source)),
    ...clouds.map((one) => points(one, panel, source))];
}
