// Colours and axes, as the theme and a panel's description have them.
const prefersDark = matchMedia("(prefers-color-scheme: dark)");
let printing = false;

function isDark() {
  if (printing || chosen.theme === "light") return false;
  return chosen.theme === "dark" || prefersDark.matches;
}

const inkOf = (key) => page.inks[key] ?? page.inks["fresh network"];
const ink = (key) => inkOf(key)[isDark() ? "dark" : "light"];
const faded = (hex, share) => hex + Math.round(255 * share).toString(16).padStart(2, "0");

// A colour of the stylesheet: `light-dark(one, other)`.
function colour(name) {
  const value = getComputedStyle(document.documentElement).getPropertyValue(name);
  return value.match(/light-dark\((.*),(.*)\)/).slice(1)[isDark() ? 1 : 0].trim();
}

// Plotly reads a little HTML and a little templating in its texts: names are shown as they are.
const plain = (text) => String(text).replace(/[&<>{}]/g, (sign) => `&#${sign.charCodeAt(0)};`);

const short = (value) => (value === 0 || (Math.abs(value) >= 1e-3 && Math.abs(value) < 1e5)
  ? String(Number(value.toPrecision(4))) : value.toExponential(2)).replace("-", "−");

const heats = () => (isDark()
  ? ["#16324a", "#1f6aa5", "#5fb4e8", "#d8f1ff"] : ["#dcebf6", "#7fb6dd", "#2a6fb0", "#0a2748"]);

function extent(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) if (Number.isFinite(value)) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return [low, high];
}

function axis(described, values, style) {
  const made = { title: { text: plain(described.label), standoff: 6, font: { size: 12 } },
    gridcolor: style.rule, linecolor: style.faint, zeroline: false, showline: false, ticks: "",
    automargin: true };
  const [low, high] = described.bounds ?? extent(values);
  if (described.log) {
    // Few decades need ticks in between.
    const few = Math.log10(high / Math.max(low, Number.MIN_VALUE)) < 2.5;
    Object.assign(made, { type: "log", minor: { showgrid: false } }, few
      ? { dtick: "D2", tickformat: ",.6~g" }
      : { nticks: 6, exponentformat: "power", tickfont: { size: 10 } });
  }
  if (described.label === "task") Object.assign(made, high < 10 ? { dtick: 1 } : { nticks: 8 });
  if (described.bounds) {
    made.range = described.bounds.map((end) => (described.log ? Math.log10(end) : end));
  }
  if (described.ticks?.length) {
    made.tickvals = described.ticks.map((tick) => tick[0]);
    made.ticktext = described.ticks.map((tick) => tick[1]);
  }
  return made;
}

function layout(panel, series, size) {
  const style = { rule: colour("--rule"), faint: colour("--faint") };
  const across = panel.heat ? arrayOf(panel.heat.x) : series.flatMap((one) => [...one.x]);
  const up = series.flatMap((one) => [...one.y]);
  const at = (x) => (panel.x.log ? Math.log10(x) : x);
  return {
    ...size, autosize: !size.width,
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("--soft") },
    margin: { l: 48, r: 10, t: 10, b: 40 },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: style.faint, activecolor: colour("--ink") },
    dragmode: "zoom", showlegend: false, hovermode: "closest", hoverdistance: -1,
    hoverlabel: { bgcolor: colour("--raised"), bordercolor: style.faint, align: "left",
      namelength: -1, font: { color: colour("--ink"), size: 12 } },
    xaxis: { ...axis(panel.x, across, style), showgrid: false, showline: true },
    yaxis: axis(panel.y, up, style),
    shapes: [
      ...(panel.marks ?? []).map(([x]) => ({ type: "line", x0: x, x1: x, yref: "paper", y0: 0, y1: 1,
        line: { color: style.faint, width: 1, dash: "dot" } })),
      ...(panel.levels ?? []).map((y) => ({ type: "line", y0: y, y1: y, xref: "paper", x0: 0, x1: 1,
        line: { color: style.faint, width: 1, dash: panel.heat ? "dot" : "solid" } })),
    ],
    annotations: (panel.marks ?? []).map(([x, text]) => ({ x: at(x), y: 1, yref: "paper",
      text: plain(text), showarrow: false, xanchor: "left", yanchor: "top", xshift: 3,
      font: { size: 11 } })),
  };
}
