"use strict";
// Curves as SVG: what is there is moved, so that nothing flickers and nothing piles up.
const Chart = (() => {
  const MARGIN = { left: 56, right: 14, top: 10, bottom: 30 };

  const HINT = "Point at the curves, or use the arrow keys, to read them off.";

  function svg(tag, className) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    if (className) made.setAttribute("class", className);
    return made;
  }

  function set(element, attributes) {
    for (const [name, value] of Object.entries(attributes)) {
      if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
    }
  }

  // As many children as there are items, each put in its place.
  function fill(parent, items, tag, place) {
    while (parent.children.length > items.length) parent.lastChild.remove();
    while (parent.children.length < items.length) parent.append(svg(tag));
    items.forEach((item, index) => place(parent.children[index], item));
  }

  function ticks(low, high, count) {
    const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((times) => times * power).find((size) => size >= rough);
    const first = Math.ceil(low / step - 1e-9);
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 },
      (_, index) => (first + index) * step).map((value) => [value, value.toFixed(digits)]);
  }

  function bounds(curves) {
    const values = curves.flatMap((curve) => [...curve.low, ...curve.high]);
    let low = Math.min(...values), high = Math.max(...values);
    const room = (high - low || Math.abs(high) || 1) * 0.06;
    return [low - room, high + room];
  }

  function make(colour) {
    const figure = document.createElement("figure"), drawing = svg("svg");
    const parts = Object.fromEntries(["grid", "up", "across", "bands", "lines", "ends"]
      .map((name) => [name, svg("g", name)]));
    const cursor = svg("line", "cursor"), read = document.createElement("p");
    const caption = document.createElement("figcaption");
    read.className = "read";
    drawing.append(...Object.values(parts), cursor);
    set(drawing, { role: "img", tabindex: 0 });
    figure.append(drawing, read, caption);
    let shown = null, at = null; // what is drawn, and the task that is read off

    function draw() {
      if (!shown || !drawing.clientWidth) return;
      const { curves, tasks, metric } = shown;
      const width = drawing.clientWidth, height = drawing.clientHeight;
      const [low, high] = bounds(curves), last = Math.max(tasks - 1, 1);
      const x = (task) => MARGIN.left + (task / last) * (width - MARGIN.left - MARGIN.right);
      const y = (value) => height - MARGIN.bottom -
        ((value - low) / (high - low)) * (height - MARGIN.top - MARGIN.bottom);
      const point = (task, value) => `${x(task).toFixed(1)},${y(value).toFixed(1)}`;
      const up = ticks(low, high, 5);
      const across = ticks(0, last, Math.min(8, last)).filter(([task]) => Number.isInteger(task));
      fill(parts.grid, up, "line", (line, [value]) =>
        set(line, { x1: MARGIN.left, x2: width - MARGIN.right, y1: y(value), y2: y(value) }));
      const label = (text, words, places) => { set(text, places); say(text, words); };
      fill(parts.up, up, "text", (text, [value, words]) =>
        label(text, words, { x: MARGIN.left - 8, y: y(value) }));
      fill(parts.across, across, "text", (text, [task, words]) =>
        label(text, words, { x: x(task), y: height - 10 }));
      fill(parts.bands, curves, "path", (path, curve) => {
        const edge = (name) => curve.task.map((task, i) => point(task, curve[name][i]));
        const several = Math.max(...curve.runs) > 1 && curve.task.length > 1;
        set(path, { class: "band method", d: several
          ? `M${edge("low").join("L")}L${edge("high").reverse().join("L")}Z` : "" });
        colour(path, curve.method);
      });
      fill(parts.lines, curves, "path", (path, curve) => {
        set(path, { class: "line method",
          d: `M${curve.task.map((task, i) => point(task, curve.mean[i])).join("L")}` });
        colour(path, curve.method);
      });
      fill(parts.ends, curves, "circle", (dot, curve) => {
        const [cx, cy] = point(curve.task.at(-1), curve.mean.at(-1)).split(",");
        set(dot, { class: "end method", r: 3, cx, cy });
        colour(dot, curve.method);
      });
      cursor.toggleAttribute("hidden", at === null);
      if (at !== null) {
        set(cursor, { x1: x(at), x2: x(at), y1: MARGIN.top, y2: height - MARGIN.bottom });
      }
      const words = at === null ? HINT : `task ${Math.round(at)}: ` + curves
        .filter((curve) => curve.task.includes(at))
        .map((curve) => `${curve.method} ${curve.mean[curve.task.indexOf(at)].toPrecision(3)}`).join(", ");
      say(read, words);
      read.classList.toggle("hint", at === null);
      say(caption, `${metric} over tasks: the mean of the runs that have come so far, shaded from ` +
        "the lowest to the highest.");
      set(drawing, { "aria-label": `${metric} over tasks of ${curves.map((c) => c.method).join(", ")}; ` +
        "the table below has the latest values" });
    }

    function nearest(tasks, wanted) {
      let best = 0;
      tasks.forEach((task, index) => {
        if (Math.abs(task - wanted) < Math.abs(tasks[best] - wanted)) best = index;
      });
      return best;
    }

    function read_at(task) {
      if (!shown) return;
      const all = shown.curves.flatMap((curve) => curve.task);
      at = task === null ? null : all[nearest(all, task)];
      draw();
    }

    drawing.addEventListener("pointermove", (event) => {
      const box = drawing.getBoundingClientRect(), inner = box.width - MARGIN.left - MARGIN.right;
      if (shown) read_at(((event.clientX - box.left - MARGIN.left) / inner) * (shown.tasks - 1));
    });
    drawing.addEventListener("pointerleave", () => read_at(null));
    drawing.addEventListener("blur", () => read_at(null));
    drawing.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step || !shown) return;
      event.preventDefault();
      const all = [...new Set(shown.curves.flatMap((curve) => curve.task))].sort((a, b) => a - b);
      const place = at === null ? (step > 0 ? -1 : all.length) : all.indexOf(at);
      read_at(all[Math.min(Math.max(place + step, 0), all.length - 1)]);
    });
    new ResizeObserver(draw).observe(drawing);

    return { figure, show(data) { shown = data; figure.hidden = false; draw(); } };
  }

  function say(element, words) {
    if (element.textContent !== words) element.textContent = words;
  }

  return { make, say };
})();
