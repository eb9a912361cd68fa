// The page of an explorer: sliders that say where they stand, and two lines drawn from what comes back.
// Nothing is reckoned here, nothing is asked of a network. Texts go in as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";
const OURS = new Set(["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End", "PageUp", "PageDown", " ", "Enter"]);
const LEFT = 62, RIGHT = 8, TOP = 6, FOOT = 18;

function node(parent, tag, options = {}, text = "") {
  const made = parent.namespaceURI === SVG || tag === "svg"
    ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(options)) made.setAttribute(name, value);
  if (text) made.textContent = text;
  parent.append(made);
  return made;
}

// ---- numbers -------------------------------------------------------------------------------------

function points(packed) {
  if (!packed || !packed.bars) return { bars: [], values: [] };
  const read = (view, how) => Array.from({ length: view.byteLength / 4 }, (_, i) => view[how](4 * i, true));
  return { bars: read(packed.bars, "getUint32"), values: read(packed.values, "getFloat32") };
}

function ticks(low, high, count) {
  const rough = (high - low) / count, ten = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(m => m * ten).find(s => s >= rough * 0.999);
  const found = [];
  for (let i = Math.ceil(low / step); i * step <= high * (1 + 1e-12); i++) found.push(i * step);
  return found;
}

// 1, 2 and 5 of each power of ten, or the powers alone where they are many.
function powers(low, high) {
  const many = Math.log10(high / low) > 3, found = [];
  for (let ten = 10 ** Math.floor(Math.log10(low)); ten <= high; ten *= 10)
    for (const m of many ? [1] : [1, 2, 5]) if (m * ten >= low && m * ten <= high) found.push(m * ten);
  return found;
}

function short(x) {
  const size = Math.abs(x);
  for (const [unit, letter] of [[1e9, "B"], [1e6, "M"], [1e3, "k"]])
    if (size >= unit) return +(x / unit).toPrecision(4) + letter;
  return String(+x.toPrecision(4));
}

const day = ms => new Date(ms).toISOString().slice(0, 10);
const minute = ms => new Date(ms).toISOString().slice(0, 16).replace("T", " ");

// ---- charts --------------------------------------------------------------------------------------

function chart(parent, height, label) {
  const svg = node(parent, "svg", { height, role: "img", "aria-label": label });
  return { svg, height, at: null };
}

function draw(plot, about, lines, options) {
  const { svg, height } = plot, width = Math.max(svg.clientWidth || 800, 200);
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const values = lines.flatMap(one => one.values).filter(Number.isFinite);
  let low = options.low ?? Math.min(...values, ...(options.levels || []));
  let high = options.high ?? Math.max(...values, ...(options.levels || []));
  if (!(high > low)) { low -= Math.abs(low) * 0.05 || 1; high += Math.abs(high) * 0.05 || 1; }
  const across = bar => LEFT + (width - LEFT - RIGHT) * (bar / Math.max(about.bars - 1, 1));
  const log = options.log && low > 0, scale = log ? Math.log : x => x;
  const part = y => (scale(Math.min(Math.max(y, low), high)) - scale(low)) / (scale(high) - scale(low));
  const down = y => TOP + (height - TOP - FOOT) * (1 - part(y));
  plot.bar = x => (x - LEFT) / (width - LEFT - RIGHT) * (about.bars - 1);
  plot.across = across;

  for (const y of log ? powers(low, high) : ticks(low, high, height > 150 ? 5 : 3)) {
    node(svg, "line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: down(y), y2: down(y) });
    node(svg, "text", { x: LEFT - 6, y: down(y) + 4, "text-anchor": "end" }, short(y));
  }
  const dates = Math.max(2, Math.floor((width - LEFT) / 130));
  for (let i = 0; i <= dates; i++) {
    const bar = (about.bars - 1) * i / dates, anchor = i === 0 ? "start" : i === dates ? "end" : "middle";
    node(svg, "text", { x: across(bar), y: height - 3, "text-anchor": anchor }, day(about.first + about.step * bar));
  }
  for (const y of options.levels || [])
    node(svg, "line", { class: "level", x1: LEFT, x2: width - RIGHT, y1: down(y), y2: down(y) });
  for (const y of options.limits || [])
    if (y <= high) node(svg, "line", { class: "limit", x1: LEFT, x2: width - RIGHT, y1: down(y), y2: down(y) });
  for (const one of lines) {
    let path = "", pen = "M";
    one.values.forEach((y, i) => {
      if (!Number.isFinite(y)) { pen = "M"; return; }
      path += `${pen}${across(one.bars[i]).toFixed(1)} ${down(y).toFixed(1)}`;
      pen = "L";
    });
    node(svg, "path", { class: one.kind, d: path });
  }
  const forced = options.forced || { bars: [], values: [] };
  if (forced.bars.length) {
    const d = forced.bars.map((bar, i) => {
      const x = across(bar), y = down(forced.values[i]);
      return `M${x - 4} ${y - 4}l8 8M${x - 4} ${y + 4}l8 -8`;
    }).join("");
    node(svg, "path", { class: "forced", d });
  }
  plot.cross = node(svg, "line", { class: "cross", y1: TOP, y2: height - FOOT, visibility: "hidden" });
}

function nearest(line, bar) {
  let low = 0, high = line.bars.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (line.bars[middle] < bar) low = middle; else high = middle;
  }
  return Math.abs(line.bars[low] - bar) < Math.abs(line.bars[high] - bar) ? low : high;
}

// ---- sliders -------------------------------------------------------------------------------------

const places = step => Math.max(0, Math.min(12, Math.ceil(-Math.log10(step) - 1e-9) + (step < 1 ? 1 : 0)));

function slider(parent, given, moved) {
  const id = `unwind-${Math.random().toString(36).slice(2)}`;
  const box = node(parent, "div", { class: "slider" });
  node(box, "label", { for: id }, given.name);
  const input = node(box, "input", { id, type: "range" });
  const output = node(box, "output", { for: id });
  const made = { given, free: false };
  const canBeFree = given.low !== null, hasNotches = given.choices.length > 0;

  made.freely = free => {
    made.free = (free && canBeFree) || !hasNotches;
    const at = made.value;
    input.min = made.free ? given.low : 0;
    input.max = made.free ? given.high : given.choices.length - 1;
    input.step = made.free ? given.step : 1;
    input.disabled = !made.free && given.choices.length < 2;
    if (at !== undefined) made.place(at);
  };
  made.place = value => {
    made.value = value;
    let at = value;
    if (!made.free) {
      at = given.choices.indexOf(value);
      if (at < 0) at = given.choices.reduce((best, one, i) =>
        Math.abs(one - value) < Math.abs(given.choices[best] - value) ? i : best, 0);
    }
    if (Number(input.value) !== at) input.value = at;
    said();
  };
  function said() {
    const text = typeof made.value === "number" ? String(+made.value.toPrecision(10)) : String(made.value);
    output.textContent = text;
    input.setAttribute("aria-valuetext", `${given.name} ${text}`);
  }
  input.addEventListener("input", () => {
    const at = Number(input.value);
    made.value = made.free ? Number(at.toFixed(places(given.step))) : given.choices[at];
    said();
    moved();
  });
  return made;
}

// ---- the widget ----------------------------------------------------------------------------------

function render({ model, el }) {
  const about = model.get("about");
  const root = node(el, "div", { class: "unwind-explorer", role: "group", "aria-label": `explorer of ${about.name}` });
  root.setAttribute("data-lm-suppress-shortcuts", "true");
  root.addEventListener("keydown", event => { // else JupyterLab takes the keys of the sliders for its cells
    if (OURS.has(event.key) && !event.ctrlKey && !event.metaKey && !event.altKey) event.stopPropagation();
  });
  const head = node(root, "div", { class: "head" });
  node(head, "b", {}, about.name);
  node(head, "span", {}, about.market);

  const panel = node(root, "div", { class: "sliders" });
  const sliders = about.sliders.map(one => slider(panel, one, moved));
  const tools = node(root, "div", { class: "tools" });
  const between = sliders.some(one => one.given.low !== null && one.given.choices.length);
  let free = null;
  if (between) {
    const label = node(tools, "label");
    free = node(label, "input", { type: "checkbox" });
    label.append(" between the tried values too");
    free.addEventListener("change", () => sliders.forEach(one => one.freely(free.checked)));
  }
  const scale = node(tools, "label"), log = node(scale, "input", { type: "checkbox" });
  scale.append(" log scale");
  log.addEventListener("change", redraw);
  const back = node(tools, "button", { type: "button" }, `best of ${about.sets.toLocaleString("en")} by ${about.by}`);
  back.addEventListener("click", () => go(about.best.values));
  const took = node(tools, "span", { class: "took" });

  const measures = node(root, "div", { class: "measures" });
  const figure = node(root, "figure");
  const caption = node(figure, "figcaption");
  node(caption, "span", {}, "equity (dashed: best of the sweep; crosses: liquidations)");
  const here = node(caption, "span", { class: "here" });
  const equity = chart(figure, 250, "equity");
  node(node(figure, "figcaption"), "span", {}, "margin ratio (liquidated at 1)");
  const margin = chart(figure, 120, "margin ratio");
  const problem = node(root, "p", { class: "problem", role: "alert" });
  const counts = node(root, "p", { class: "counts", role: "status" });
  const best = { ...points(about.best.equity), kind: "best" };
  log.checked = Math.min(...best.values) > 0 && Math.max(...best.values) > 5 * Math.min(...best.values);
  let lines = { equity: best, margin: { bars: [], values: [] } };

  function go(values) {
    root.classList.add("stale");
    model.set("values", values);
    model.save_changes();
  }
  function moved() {
    go(Object.fromEntries(sliders.map(one => [one.given.name, one.value])));
  }
  function place() {
    const values = model.get("values");
    for (const one of sliders) if (one.given.name in values) one.place(values[one.given.name]);
  }
  function redraw() {
    const shown = model.get("shown");
    draw(equity, about, [best, lines.equity], {
      levels: [about.start], forced: points(shown.liquidations), log: log.checked,
    });
    const top = Math.max(0, ...lines.margin.values.filter(Number.isFinite));
    draw(margin, about, [lines.margin], { low: 0, high: Math.min(Math.max(1.1 * top, 0.05), 1.25), limits: [1] });
  }
  function show() {
    const shown = model.get("shown");
    root.classList.remove("stale");
    problem.textContent = shown.problem || "";
    if (!shown.equity) return;
    lines = { equity: { ...points(shown.equity), kind: "line" }, margin: { ...points(shown.margin), kind: "line" } };
    measures.replaceChildren();
    for (const [name, label, text] of shown.measures) {
      const tile = node(measures, "div", { "data-measure": name });
      node(tile, "span", {}, label);
      node(tile, "b", {}, text);
    }
    counts.textContent = shown.words;
    const trial = shown.new ? "a new trial, " : "";
    took.textContent = shown.ms ? trial + `${about.bars.toLocaleString("en")} bars in ${Math.round(shown.ms)} ms` : "";
    redraw();
  }
  function point(event) {
    const box = event.currentTarget.getBoundingClientRect();
    const bar = Math.min(Math.max(equity.bar(event.clientX - box.left), 0), about.bars - 1);
    const i = nearest(lines.equity, bar), at = lines.equity.bars[i], j = nearest(lines.margin, at);
    for (const plot of [equity, margin]) {
      plot.cross.setAttribute("x1", plot.across(at));
      plot.cross.setAttribute("x2", plot.across(at));
      plot.cross.setAttribute("visibility", "visible");
    }
    const ratio = j >= 0 && j < lines.margin.values.length ? lines.margin.values[j].toFixed(3) : "";
    here.textContent = `${minute(about.first + about.step * (at + 1))}  equity ${short(lines.equity.values[i])}  ` +
      `margin ratio ${ratio}`;
  }
  function leave() {
    here.textContent = "";
    for (const plot of [equity, margin]) plot.cross?.setAttribute("visibility", "hidden");
  }
  for (const plot of [equity, margin]) {
    plot.svg.addEventListener("pointermove", point);
    plot.svg.addEventListener("pointerleave", leave);
  }

  sliders.forEach(one => one.freely(false));
  place();
  show();
  model.on("change:values", place);
  model.on("change:shown", show);
  const size = new ResizeObserver(redraw);
  size.observe(figure);
  return () => {
    size.disconnect();
    model.off("change:values", place);
    model.off("change:shown", show);
  };
}

export default { render };
