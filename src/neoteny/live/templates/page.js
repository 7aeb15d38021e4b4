"use strict";
(() => {
  const EVERY = 2000, SLOWEST = 10000, OPENED_AT_FIRST = 6;
  const { say } = Chart;
  const by = (id) => document.getElementById(id);
  const sections = new Map(); // a stream's number -> what shows it
  let tag = "", asked = "", wait = EVERY, timer = 0, colours = {};

  const WORDS = {
    absent: (told) => `There is no folder ${told.folder} yet. Its runs are shown as soon as there are some.`,
    empty: () => "No run has begun yet. Runs are shown as soon as there are some.",
    running: (told) => told.left === null ? "Running." : `Running; at this pace ${span(told.left)} are left.`,
    idle: () => "Nothing is running, and not all is done. The command that began these runs continues them.",
    done: (told) => `Done: no run is left. Now type: neoteny report ${told.folder}`,
  };
  const FACTS = ["running", "waiting", "finished", "pruned", "diverged", "failed", "interrupted"];
  const BAD = ["diverged", "failed", "interrupted"];

  function span(seconds) {
    const [size, unit] = [[86400, "days"], [3600, "hours"], [60, "minutes"]]
      .find(([size]) => seconds >= 2 * size) || [1, "seconds"];
    return `about ${Math.round(seconds / size)} ${unit}`;
  }

  function rate(value, unit = "") {
    if (value === null || value === undefined) return "";
    const [number, time] = value === 0 || value >= 0.1 ? [value, "s"] : [60 * value, "min"];
    return `${Number(number.toPrecision(2))}${unit}/${time}`;
  }

  function element(tag, text) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function colour(shown, method) {
    const [light, dark] = colours[method] || ["", ""];
    if (shown.style.getPropertyValue("--light") === light) return;
    shown.style.setProperty("--light", light);
    shown.style.setProperty("--dark", dark);
  }

  // As many children as there are items, each made once and then kept up to date.
  function fill(parent, items, make, update) {
    while (parent.children.length > items.length) parent.lastChild.remove();
    while (parent.children.length < items.length) parent.append(make());
    items.forEach((item, index) => update(parent.children[index], item));
  }

  function facts(total, pace) {
    const shown = [["runs", total.runs], ...FACTS.map((name) => [name, total[name]]),
      ["tasks", `${total.done} of ${total.asked}`], ["pace", rate(pace, " tasks")]]
      .filter(([name, value]) => value || name === "runs");
    fill(by("facts"), shown, () => {
      const box = element("div");
      box.append(element("dt"), element("dd"));
      return box;
    }, (box, [name, value]) => {
      say(box.children[0], name);
      say(box.children[1], String(value));
      box.classList.toggle("bad", BAD.includes(name));
    });
  }

  function section(number, first) {
    const box = element("details"), summary = element("summary"), name = element("h2");
    const said = element("span"), table = element("table"), scroll = element("div");
    const head = element("thead"), body = element("tbody"), chart = Chart.make(colour);
    chart.figure.hidden = true;
    head.append(element("tr"));
    for (const word of ["method", "tasks", "latest", "pace", ...FACTS]) {
      const cell = element("th", word);
      cell.scope = "col";
      head.firstChild.append(cell);
    }
    table.append(head, body);
    scroll.className = "scroll";
    scroll.append(table);
    summary.append(name, said);
    box.append(summary, chart.figure, scroll);
    box.open = first < OPENED_AT_FIRST;
    box.addEventListener("toggle", () => poll());
    return { box, name, said, body, chart };
  }

  function row() {
    const made = element("tr"), name = element("th"), tasks = element("td"), bar = element("progress");
    name.scope = "row";
    name.append(element("i"), element("span"));
    name.firstChild.className = "method";
    bar.className = "method";
    tasks.append(bar, element("span"));
    made.append(name, tasks, ...Array.from({ length: 2 + FACTS.length }, () => element("td")));
    return made;
  }

  function showRow(shown, data, latest) {
    const [name, tasks, value, pace, ...counts] = shown.children;
    colour(name.firstChild, data.method);
    say(name.lastChild, data.method);
    const bar = tasks.firstChild;
    colour(bar, data.method);
    bar.max = Math.max(data.asked, 1);
    bar.value = data.done;
    bar.setAttribute("aria-label", `tasks of ${data.method}`);
    say(tasks.lastChild, `${data.done}/${data.asked}`);
    say(value, latest === undefined ? "" : latest.toPrecision(3));
    say(pace, rate(data.rate));
    counts.forEach((cell, place) => {
      const count = data[FACTS[place]];
      say(cell, count ? String(count) : "");
      cell.classList.toggle("bad", count > 0 && BAD.includes(FACTS[place]));
    });
  }

  function showSection(shown, data, several) {
    say(shown.name, several && data.study ? `${data.study}: ${data.stream}` : data.stream);
    const share = data.asked ? Math.floor((100 * data.done) / data.asked) : 0;
    const states = FACTS.filter((name) => data[name]).map((name) => `${data[name]} ${name}`);
    say(shown.said, `${share} % · ${states.join(", ")}`);
    if (!data.methods) return;
    const latest = new Map(data.curves.map((curve) => [curve.method, curve.mean.at(-1)]));
    fill(shown.body, data.methods, row, (one, each) => showRow(one, each, latest.get(each.method)));
    if (data.curves.length) {
      const metric = (data.metric || "").replaceAll("_", " ");
      shown.chart.show({ curves: data.curves, tasks: data.tasks, metric });
    } else shown.chart.figure.hidden = true;
  }

  function showSections(all) {
    const several = new Set(all.map((one) => one.study)).size > 1;
    const present = new Set(all.map((one) => one.id));
    for (const [number, shown] of sections) if (!present.has(number)) {
      shown.box.remove();
      sections.delete(number);
    }
    all.forEach((data, place) => {
      if (!sections.has(data.id)) sections.set(data.id, section(data.id, sections.size));
      const { box } = sections.get(data.id);
      if (by("sections").children[place] !== box) by("sections").insertBefore(box, by("sections").children[place] || null);
      showSection(sections.get(data.id), data, several);
    });
  }

  function showReasons(reasons) {
    by("reasons").hidden = reasons.shown.length === 0;
    fill(by("reasons").querySelector("tbody"), reasons.shown, () => {
      const made = element("tr");
      made.append(element("td"), element("td"), element("td"));
      made.children[1].className = "bad";
      return made;
    }, (made, { folder, status, reason }) =>
      [folder, status, reason].forEach((words, place) => say(made.children[place], words)));
    say(by("more"), reasons.more ? `and ${reasons.more} more; type: neoteny status` : "");
  }

  function show(told) {
    colours = told.colours;
    const { total } = told, share = total.asked ? total.done / total.asked : 0;
    say(by("folder"), told.folder);
    const unread = told.unread ? ` Still reading ${told.unread} runs.` : "";
    say(by("said"), WORDS[told.state](told) + unread);
    by("said").classList.remove("lost");
    by("whole").hidden = !total.asked;
    by("whole").value = share;
    document.title = total.asked ? `${Math.floor(100 * share)} % · ${told.folder}` : told.folder;
    facts(total, told.rate);
    showSections(told.sections);
    showReasons(told.reasons);
  }

  function lose(words) {
    say(by("said"), words);
    by("said").classList.add("lost");
    wait = Math.min(2 * wait, SLOWEST);
  }

  async function look() {
    const open = [...sections].filter(([, shown]) => shown.box.open).map(([number]) => number);
    const wanted = `state?open=${open.join(",")}`;
    const headers = tag && wanted === asked ? { "If-None-Match": tag } : {};
    const answer = await fetch(wanted, { headers, cache: "no-store", signal: AbortSignal.timeout(30000) });
    if (answer.status === 403) return lose("The server asks for a token: open the address that `neoteny watch` printed.");
    if (answer.status >= 400) return lose(`The folder cannot be read: ${await answer.text()}`);
    wait = EVERY;
    say(by("looked"), `looked at ${new Date().toLocaleTimeString()}`);
    if (answer.status === 304) return;
    const told = await answer.json();
    tag = answer.headers.get("ETag");
    asked = wanted;
    show(told);
  }

  let busy = false, again = false;
  async function poll() {
    clearTimeout(timer);
    again = busy;
    if (busy) return;
    busy = true;
    try {
      if (!document.hidden) await look();
    } catch {
      lose("The server has ended or cannot be reached. This page goes on when it is back.");
    }
    busy = false;
    timer = setTimeout(poll, again ? 0 : wait);
  }

  document.addEventListener("visibilitychange", () => { if (!document.hidden) poll(); });
  poll();
})();
