// What a figure says to those who do not see it, and its numbers as a table.
function described(panel, series) {
  const title = [panel.title, `${panel.y.label} by ${panel.x.label}`].filter(Boolean).join(": ");
  if (panel.heat) {
    const tasks = arrayOf(panel.heat.x);
    return `${title}. Map of colours of ${tasks.length} tasks, ${tasks[0]} to ${tasks.at(-1)}.`;
  }
  const said = series.filter((one) => one.y.length).map((one) => (one.kind === "points"
    ? `${one.label}: ${one.y.length} points, ${extent(one.y).map(short).join(" to ")}`
    : `${one.label}: ${short(one.y[0])} at ${short(one.x[0])}, ${short(one.y.at(-1))} at ${short(one.x.at(-1))}`));
  return `${title}. ${said.join("; ")}.`;
}

const MOST_ROWS = 100;

function cellsOf(series) {
  const cells = new Map();
  series.x.forEach((x, n) => {
    const range = series.low ? ` (${short(series.low[n])} to ${short(series.high[n])})` : "";
    cells.set(x, short(series.y[n]) + range);
  });
  return cells;
}

function linesTable(panel, series) {
  const every = [...new Set(series.flatMap((one) => [...one.x]))].sort((a, b) => a - b);
  const step = Math.ceil(every.length / MOST_ROWS), cells = series.map(cellsOf);
  const rows = every.filter((_, n) => n % step === 0).map((x) => [short(x),
    ...cells.map((one) => one.get(x) ?? "–")]);
  return { head: [panel.x.label, ...series.map((one) => one.label)], rows, step };
}

function pointsTable(panel, series) {
  const every = series.flatMap((one) => Array.from(one.x, (x, n) =>
    [`${one.label}, ${one.notes[n]}`, short(x), short(one.y[n])]));
  const step = Math.ceil(every.length / MOST_ROWS);
  return { head: ["run and task", panel.x.label, panel.y.label], step,
    rows: every.filter((_, n) => n % step === 0) };
}

function heatTable({ heat }) {
  const [rows, columns] = heat.z.shape, z = arrayOf(heat.z);
  const step = Math.ceil(columns / 12), tasks = arrayOf(heat.x);
  const kept = [...tasks.keys()].filter((n) => n % step === 0);
  const body = [...Array(rows).keys()].reverse().map((row) => [heat.rows[row],
    ...kept.map((n) => (Number.isNaN(z[row * columns + n]) ? "–" : short(10 ** z[row * columns + n])))]);
  return { head: ["eigenvalue λ", ...kept.map((n) => `task ${tasks[n]}`)], rows: body, step };
}

function table(panel, series) {
  const made = panel.heat ? heatTable(panel)
    : series.some((one) => one.kind === "points") ? pointsTable(panel, series) : linesTable(panel, series);
  const row = (cells, tag) => element("tr", {}, cells.map((text, n) =>
    element(n && tag !== "th" ? "td" : "th", { scope: tag === "th" ? "col" : "row" }, [text])));
  const every = made.step > 1 ? ` (each ${made.step}th; all of them: neoteny export)` : "";
  const caption = `${panel.title || panel.y.label}${every}`;
  return element("table", {}, [element("caption", {}, [caption]),
    element("thead", {}, [row(made.head, "th")]),
    element("tbody", {}, made.rows.map((cells) => row(cells, "td")))]);
}
