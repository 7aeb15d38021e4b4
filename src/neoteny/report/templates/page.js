"use strict";
(() => {
  const page = JSON.parse(document.getElementById("data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const hidden = new Set();
  const shown = new Map(); // figure -> index of its view
  const drawn = new Set(); // figures that have come near enough to be drawn
  let printing = false;

  const theme = () => (dark.matches && !printing ? "dark" : "light");
  const ink = (key) => (page.inks[key] || page.inks["fresh network"])[theme()];
  // Plotly reads a little HTML in its texts: names are shown as they are.
  const plain = (text) =>
    text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const faded = (hex, share) =>
    hex + Math.round(255 * share).toString(16).padStart(2, "0");
  const element = (tag, attributes, text) => {
    const made = Object.assign(document.createElement(tag), attributes);
    if (text !== undefined) made.textContent = text;
    return made;
  };

  function band(series) {
    const steps = series.kind.includes("steps") ? "hvh" : "linear";
    const edge = { x: series.x, mode: "lines", hoverinfo: "skip", showlegend: false,
      line: { width: 0, shape: steps }, meta: series.key };
    return [
      { ...edge, y: series.low },
      { ...edge, y: series.high, fill: "tonexty", fillcolor: faded(ink(series.key), 0.16) },
    ];
  }

  function trace(series, sparse) {
    const colour = ink(series.key), name = plain(series.label);
    const symbol = (page.inks[series.key] || page.inks["fresh network"]).symbol;
    const base = { x: series.x, y: series.y, name, meta: series.key, showlegend: false };
    if (series.kind === "points") {
      return { ...base, mode: "markers", text: series.notes,
        marker: { color: faded(colour, 0.6), size: 7, symbol, line: { width: 0 } },
        hovertemplate: `${name}, %{text}<br>%{x:.4~g}, %{y:.4~g}<extra></extra>` };
    }
    const dashed = series.kind.includes("dashed") || series.kind === "marks";
    const dotted = series.kind === "marks" || (series.kind === "line" && sparse);
    const range = series.low && series.low.map((low, i) => [low, series.high[i]]);
    return { ...base, mode: dotted ? "lines+markers" : "lines", customdata: range,
      line: { color: colour, width: dashed ? 1.3 : 2, dash: dashed ? "5px,3px" : "solid",
        shape: series.kind.includes("steps") ? "hvh" : "linear" },
      marker: { color: colour, size: series.kind === "marks" ? 4 : 5 },
      hovertemplate: range ? "%{y:.4~g} (%{customdata[0]:.4~g} to %{customdata[1]:.4~g})" : "%{y:.4~g}" };
  }

  function traces(panel) {
    const drawn = [];
    for (const series of panel.series) if (series.low) drawn.push(...band(series));
    for (const series of panel.series) drawn.push(trace(series, series.x.length <= 30));
    for (const one of drawn) one.visible = !hidden.has(one.meta);
    return drawn;
  }

  // The decades that values on a logarithmic axis span: few of them need ticks in between.
  function decades(description, values) {
    const [low, high] = description.bounds || values.filter((value) => value > 0).reduce(
      ([least, most], value) => [Math.min(least, value), Math.max(most, value)], [Infinity, 0]);
    return Math.log10(high / low);
  }

  function axis(description, values, style) {
    const made = { title: { text: plain(description.label), standoff: 6, font: { size: 12 } },
      gridcolor: style.rule, linecolor: style.faint, zeroline: false, showline: false,
      ticks: "", automargin: true };
    if (description.log) {
      const few = decades(description, values) < 2.5;
      Object.assign(made, { type: "log", minor: { showgrid: false } }, few
        ? { dtick: "D2", tickformat: ",.6~g" }
        : { nticks: 6, exponentformat: "power", tickfont: { size: 10 } });
    }
    if (description.label === "task" && Math.max(...values) < 10) made.dtick = 1;
    if (description.bounds) {
      made.range = description.bounds.map((end) => (description.log ? Math.log10(end) : end));
    }
    if (description.ticks.length) {
      made.tickvals = description.ticks.map((tick) => tick[0]);
      made.ticktext = description.ticks.map((tick) => tick[1]);
    }
    return made;
  }

  function layout(panel) {
    const css = getComputedStyle(document.documentElement);
    const read = (name) => (printing ? { "--ink": "#000", "--soft": "#333", "--faint": "#777",
      "--rule": "#ddd", "--raised": "#fff" }[name] : css.getPropertyValue(name).trim());
    const style = { rule: read("--rule"), faint: read("--faint") };
    const points = panel.series.some((series) => series.kind === "points");
    const across = panel.series.flatMap((series) => series.x);
    const up = panel.series.flatMap((series) => series.y);
    const place = (x) => (panel.x.log ? Math.log10(x) : x);
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: css.getPropertyValue("--sans"), size: 12, color: read("--soft") },
      margin: { l: 48, r: 10, t: 10, b: 40 },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: style.faint, activecolor: read("--ink") },
      dragmode: "zoom", showlegend: false,
      hovermode: points || panel.x.ticks.length ? "closest" : "x unified",
      hoverlabel: { bgcolor: read("--raised"), bordercolor: style.faint, namelength: -1,
        font: { color: read("--ink"), size: 12 } },
      xaxis: { ...axis(panel.x, across, style), showgrid: false, showline: true, unifiedhovertitle: {
        text: panel.x.label === "task" ? "task %{x}" : "%{x:.3~g}" } },
      yaxis: axis(panel.y, up, style),
      shapes: [
        ...panel.marks.map(([x]) => ({ type: "line", x0: x, x1: x, yref: "paper", y0: 0, y1: 1,
          line: { color: style.faint, width: 1, dash: "dot" } })),
        ...panel.levels.map((y) => ({ type: "line", y0: y, y1: y, xref: "paper", x0: 0, x1: 1,
          line: { color: style.faint, width: 1 } })),
      ],
      annotations: panel.marks.map(([x, text]) => ({ x: place(x), y: 1, yref: "paper", text,
        showarrow: false, xanchor: "left", yanchor: "top", xshift: 3, font: { size: 11 } })),
    };
  }

  // Named one by one: plotly's own choice includes a button that uploads the chart.
  const options = { showSendToCloud: false, plotlyServerURL: "",
    displaylogo: false, responsive: true,
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]] };

  function paint(figure) {
    const view = page.figures[figure.dataset.figure][shown.get(figure)];
    figure.querySelectorAll(".plot").forEach((slot, place) => {
      const panel = view.panels[place];
      // Plotly has no range for a logarithmic axis on which nothing shows.
      const empty = panel.series.every((series) => hidden.has(series.key));
      slot.closest(".panel").hidden = empty;
      if (!empty) Plotly.react(slot, traces(panel), layout(panel), options);
    });
    colourSwatches(figure);
  }

  function show(figure, index) {
    const view = page.figures[figure.dataset.figure][index];
    const panels = figure.querySelector(".panels");
    shown.set(figure, index);
    panels.querySelectorAll(".plot").forEach((slot) => Plotly.purge(slot));
    panels.classList.toggle("single", view.panels.length === 1);
    panels.replaceChildren(...view.panels.map((panel) => {
      const box = element("div", { className: "panel" });
      if (panel.title) box.append(element("p", {}, panel.title));
      const plot = element("div", { className: "plot" });
      plot.setAttribute("role", "img");
      plot.setAttribute("aria-label", `${panel.title} ${panel.y.label} by ${panel.x.label}`);
      box.append(plot);
      return box;
    }));
    figure.querySelector(".note").textContent = view.note;
    figure.querySelectorAll(".views button").forEach((button, place) =>
      button.setAttribute("aria-pressed", String(place === index)));
    legend(figure, view);
    if (drawn.has(figure)) paint(figure);
    else colourSwatches(figure);
  }

  function draw(figure) {
    if (!drawn.has(figure)) paint(figure);
    drawn.add(figure);
  }

  function legend(figure, view) {
    const kinds = new Map();
    for (const panel of view.panels) for (const series of panel.series) {
      if (!kinds.has(series.key)) kinds.set(series.key, series.kind);
    }
    figure.querySelector(".legend").replaceChildren(...[...kinds].map(([key, kind]) => {
      const button = element("button", { type: "button" });
      button.dataset.key = key;
      button.append(element("i", { className: kind === "marks" ? "dashed" : "" }), key);
      return button;
    }));
    pressButtons();
  }

  function pressButtons() {
    document.querySelectorAll("button[data-key]").forEach((button) =>
      button.setAttribute("aria-pressed", String(!hidden.has(button.dataset.key))));
  }

  function colourSwatches(root) {
    root.querySelectorAll("i").forEach((swatch) => {
      const key = swatch.dataset.ink ?? swatch.closest("[data-key]")?.dataset.key;
      if (key !== undefined) swatch.style.setProperty("--swatch", ink(key));
    });
  }

  function repaint() {
    colourSwatches(document);
    pressButtons();
    for (const figure of drawn) paint(figure);
  }

  // Boxes of all figures first, so that no link misses its target by later growth.
  const figures = [...document.querySelectorAll("[data-figure]")];
  figures.forEach((figure) => show(figure, 0));
  const watcher = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) if (isIntersecting) draw(target);
  }, { rootMargin: "800px" });
  figures.forEach((figure) => watcher.observe(figure));

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.view !== undefined) {
      show(button.closest("[data-figure]"), Number(button.dataset.view));
    } else if (button.dataset.key !== undefined) {
      const key = button.dataset.key;
      if (!hidden.delete(key)) hidden.add(key);
      repaint();
    }
  });
  document.addEventListener("dblclick", (event) => {
    const key = event.target.closest("button")?.dataset.key;
    if (key === undefined) return;
    const others = Object.keys(page.inks).filter((name) => name !== key);
    const alone = others.every((name) => hidden.has(name));
    hidden.clear();
    if (!alone) others.forEach((name) => hidden.add(name));
    repaint();
  });
  dark.addEventListener("change", repaint);
  addEventListener("beforeprint", () => {
    printing = true;
    figures.forEach(draw);
    repaint();
  });
  addEventListener("afterprint", () => { printing = false; repaint(); });
  colourSwatches(document);
})();
