"use strict";
(async () => {
  const root = document.documentElement;
  const unpack = async (id) => {
    const text = atob(document.getElementById(id).textContent), bytes = new Uint8Array(text.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = text.charCodeAt(i);
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  };
  const element = (name, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  };

  // ---- charts

  const tinted = (value) => {
    const style = getComputedStyle(root);
    const walk = (v) => typeof v === "string" ? (v.startsWith("--") ? style.getPropertyValue(v).trim() : v)
      : Array.isArray(v) ? ((typeof v[0] === "number" && typeof v[1] !== "string") || v[0] === null ? v : v.map(walk))
      : v && typeof v === "object" ? Object.fromEntries(Object.entries(v).map(([k, x]) => [k, walk(x)])) : v;
    return walk(value);
  };
  const axis = { gridcolor: "--grid", zerolinecolor: "--zero", linecolor: "--line", tickcolor: "--line", automargin: true, zeroline: false };
  const dress = (chart) => {
    const { clientWidth: width, clientHeight: height } = document.getElementById(chart.id);
    const dressed = {
      width, height,
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: "--soft", family: "inherit", size: 12 },
      margin: { l: 8, r: 12, t: 12, b: 8 }, showlegend: false, hovermode: "x unified", dragmode: "zoom", bargap: 0.12,
      hoverlabel: { bgcolor: "--card", bordercolor: "--line", font: { color: "--ink" } }, ...chart.layout,
    };
    for (const name of Object.keys(dressed)) if (/^[xy]axis/.test(name)) dressed[name] = { ...axis, ...dressed[name] };
    for (const s of chart.pressed || []) for (const [path, v] of Object.entries(chart.switches[s].on)) {
      const [name, key] = path.split(".");
      dressed[name] = { ...dressed[name], [key]: v };
    }
    if (width < 480) for (const name of Object.keys(dressed)) if (/^xaxis/.test(name) && dressed[name].type !== "category") dressed[name] = { ...dressed[name], nticks: 4, tickangle: 0 };
    return tinted(dressed);
  };
  const draw = (chart) => Plotly.react(chart.id, tinted(chart.data), dress(chart), { displaylogo: false, displayModeBar: false });
  const pause = () => new Promise((done) => setTimeout(done));

  // ---- rows that are sorted and filtered

  const two = (n) => String(n).padStart(2, "0");
  const minus = (text) => text.replace("-", "\u2212");
  const formats = [];
  const fixed = (v, digits) => (formats[digits] ??= new Intl.NumberFormat("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits })).format(v);
  const decimals = (values) => Math.min(8, Math.max(0, ...values.filter((v) => v !== null).map((v) => (String(Number(v.toPrecision(7))).split(".")[1] || "").length)));
  const say = {
    time: (v) => { const d = new Date(v); return `${d.getUTCFullYear()}-${two(d.getUTCMonth() + 1)}-${two(d.getUTCDate())} ${two(d.getUTCHours())}:${two(d.getUTCMinutes())}`; },
    word: (v) => v,
    count: (v) => String(v),
    number: (v) => fixed(v, 1),
    price: (v, digits) => fixed(v, digits),
    money: (v, digits) => (Number(v.toFixed(digits)) > 0 ? "+" : "") + minus(fixed(Number(v.toFixed(digits)) || 0, digits)),
    percent: (v) => minus((Number((100 * v).toFixed(2)) || 0).toFixed(2) + "%"),
  };
  const explore = (given) => {
    const place = document.getElementById(given.id), PAGE = 25;
    const { heads, kinds, columns, filters, outcome } = given;
    const cents = given.cents;
    const digits = kinds.map((kind, c) => kind === "price" ? decimals(columns[c]) : cents);
    const many = columns[0].length, shown = (c, r) => columns[c][r] === null ? "\u2013" : say[kinds[c]](columns[c][r], digits[c]);
    const text = [], textOf = (r) => (text[r] ??= columns.map((_, c) => shown(c, r)).join(" ").toLowerCase()); // when asked for
    let order = [...Array(many).keys()], sort = [0, 1], page = 0;
    const find = place.querySelector(".find"), won = place.querySelector(".won"), menus = place.querySelector(".menus");
    if (outcome === null) won.remove();
    const menu = filters.map((c) => {
      const values = [...new Set(columns[c])].sort();
      const made = element("select", { ariaLabel: heads[c] }, element("option", { value: "", textContent: `${heads[c].toLowerCase()}: all` }), ...values.map((v) => element("option", { value: v, textContent: v })));
      if (values.length > 1) menus.append(made);
      return made;
    });
    const head = place.querySelector("thead tr"), body = place.querySelector("tbody");
    heads.forEach((name, c) => {
      const button = element("button", { type: "button", textContent: name });
      button.addEventListener("click", () => { sort = sort[0] === c ? [c, -sort[1]] : [c, kinds[c] === "word" ? 1 : -1]; page = 0; show(); });
      const cell = element("th", { scope: "col" }, button);
      if (kinds[c] !== "word" && kinds[c] !== "time") cell.className = "n";
      head.append(cell);
    });
    const show = () => {
      const words = find.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
      const side = outcome === null ? "" : won.querySelector("select").value;
      order = [...Array(many).keys()].filter((r) => words.every((w) => textOf(r).includes(w))
        && filters.every((c, i) => menu[i].value === "" || columns[c][r] === menu[i].value)
        && (side === "" || Math.sign(columns[outcome][r]) * side > 0));
      const [c, way] = sort, values = columns[c];
      order.sort((a, b) => {
        const x = values[a], y = values[b];
        if (x === y) return a - b;
        if (x === null || y === null) return x === null ? 1 : -1;
        return (x < y ? -1 : 1) * way;
      });
      const pages = Math.max(1, Math.ceil(order.length / PAGE));
      page = Math.min(page, pages - 1);
      body.replaceChildren(...order.slice(page * PAGE, (page + 1) * PAGE).map((r) => element("tr", {}, ...columns.map((values, c) => {
        const cell = element("td", { textContent: shown(c, r) });
        if (kinds[c] !== "word" && kinds[c] !== "time") cell.className = "n";
        if (c === outcome && values[r] !== null) cell.classList.add(values[r] > 0 ? "good" : "bad");
        return cell;
      }))));
      [...head.children].forEach((cell, i) => cell.setAttribute("aria-sort", i === c ? (way > 0 ? "ascending" : "descending") : "none"));
      const sum = outcome === null ? "" : `, ${say.money(order.reduce((s, r) => s + (columns[outcome][r] ?? 0), 0), cents)} in all`;
      place.querySelector(".count").textContent = `${order.length.toLocaleString("en-US")} of ${many.toLocaleString("en-US")}${sum}`;
      place.querySelector(".page").textContent = `page ${page + 1} of ${pages}`;
      place.querySelector(".back").disabled = page === 0;
      place.querySelector(".next").disabled = page >= pages - 1;
      place.querySelector(".pager").hidden = pages < 2;
    };
    const anew = () => { page = 0; show(); };
    find.addEventListener("input", anew);
    for (const one of [...menu, won]) one.addEventListener("change", anew);
    place.querySelector(".back").addEventListener("click", () => { page -= 1; show(); });
    place.querySelector(".next").addEventListener("click", () => { page += 1; show(); });
    show();
  };

  // ---- all of it

  const links = [...document.querySelectorAll(".contents a")];
  if (links.length && "IntersectionObserver" in window) {
    const seen = new IntersectionObserver((entries) => {
      for (const entry of entries) if (entry.isIntersecting) for (const link of links) link.classList.toggle("here", link.hash === "#" + entry.target.id);
    }, { rootMargin: "0px 0px -75% 0px" });
    document.querySelectorAll("section[id]").forEach((section) => seen.observe(section));
  }
  try {
    const { charts, rows } = JSON.parse(await unpack("packed"));
    for (const given of rows) explore(given);
    if (charts.length) {
      const script = document.createElement("script");
      script.textContent = await unpack("plotly-gz");
      document.head.append(script);
      for (const chart of charts) { await draw(chart); await pause(); }
      for (const button of document.querySelectorAll(".switch")) button.addEventListener("click", () => {
        const chart = charts.find((c) => c.id === button.dataset.chart), number = Number(button.dataset.switch);
        const pressed = new Set(chart.pressed);
        pressed.has(number) ? pressed.delete(number) : pressed.add(number);
        chart.pressed = [...pressed];
        button.setAttribute("aria-pressed", String(pressed.has(number)));
        draw(chart);
      });
      const all = async () => { for (const chart of charts) await draw(chart); };
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", all);
      let later;
      addEventListener("resize", () => { clearTimeout(later); later = setTimeout(all, 120); });
    }
    // Paper is light, as wide as a sheet and shows what is folded, whatever the screen does. `draw` has drawn when it returns.
    const folded = [...document.querySelectorAll("details")];
    let opened = [];
    addEventListener("beforeprint", () => {
      root.dataset.paper = "";
      opened = folded.filter((one) => !one.open);
      for (const one of opened) one.open = true;
      for (const chart of charts) draw(chart);
    });
    addEventListener("afterprint", () => {
      delete root.dataset.paper;
      for (const one of opened) one.open = false;
      for (const chart of charts) draw(chart);
    });
    root.dataset.drawn = String(charts.length);
  } catch (problem) {
    console.error(problem);
    for (const place of document.querySelectorAll(".plot")) { place.classList.add("failed"); place.textContent = "This chart needs a browser of 2023 or later (" + problem.message + ")."; }
  }
})();
