"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";

  function element(name, attributes, text) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function html(name, text, style) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (style) made.className = style;
    return made;
  }

  // --- numbers as the rest of the page writes them ---

  function rounded(value, places) {
    const [whole, part] = value.toFixed(Math.min(20, Math.max(0, places))).split(".");
    const grouped = whole.replace(/\B(?=(\d{3})+$)/g, "\u202f").replace("-", "\u2212");
    return part ? grouped + "." + part : grouped;
  }

  function short(value) {
    if (value === 0) return "0";
    const power = Math.floor(Math.log10(Math.abs(value)));
    return power > 6 || power < -4 ? value.toExponential(2).replace("-", "\u2212") : rounded(value, 2 - power);
  }

  function withStd(value, std) {
    if (!(std > 0)) return short(value);
    const power = Math.floor(Math.log10(std));
    if (power > 6 || power < -5) return short(value) + " \u00b1 " + short(std);
    const unit = 10 ** (power - 1);
    const places = Math.max(0, 1 - power);
    return [value, std].map((v) => rounded(Math.round(v / unit) * unit, places)).join(" \u00b1 ");
  }

  function length(nm) {
    if (nm >= 999.5) return +(nm / 1000).toPrecision(3) + " \u00b5m";
    return nm >= 0.9995 ? +nm.toPrecision(3) + " nm" : +(nm * 1000).toPrecision(3) + " pm";
  }

  // --- the rest of the page ---

  addEventListener("beforeprint", () => document.querySelectorAll("details.ranks").forEach((d) => { d.open = true; }));
  if ($("copy")) {
    $("copy").addEventListener("click", async () => {
      const code = $("positions");
      getSelection().selectAllChildren(code);
      try {
        await navigator.clipboard.writeText(code.textContent);
        $("copy").textContent = "Copied";
      } catch {
        $("copy").textContent = "Press Ctrl+C";
      }
    });
  }

  const chart = $("chart");
  if (!chart) return;
  const data = JSON.parse($("map-data").textContent);
  const n = data.step.length;
  const [fullWidth, fullHeight] = data.size;
  const view = { x: 0, y: 0, width: fullWidth };
  let chosen = -1;

  // --- view: centre (x, y) and width, in nanometres; the height follows from the window ---

  const box = () => chart.getBoundingClientRect();
  const everything = () => { const b = box(); return Math.max(fullWidth, fullHeight * b.width / b.height); };
  const scale = () => view.width / box().width;

  function show() {
    const b = box();
    if (!b.width) return;
    const widest = everything() * 1.05;
    view.width = Math.min(Math.max(view.width, Math.min(20, widest)), widest);
    view.x = Math.min(Math.max(view.x, -fullWidth / 2), fullWidth / 2);
    view.y = Math.min(Math.max(view.y, -fullHeight / 2), fullHeight / 2);
    const height = view.width * b.height / b.width;
    chart.setAttribute("viewBox", [view.x - view.width / 2, view.y - height / 2, view.width, height].join(" "));
    const zoom = everything() / view.width;
    const points = $("points");
    const size = Math.min(13, (n < 400 ? 6 : n < 2000 ? 4.5 : 3) + 1.2 * Math.log2(Math.max(1, zoom)));
    const crowded = Math.min(1, 600 * zoom / n);
    for (const path of points.children) {
      const high = data.colours.indexOf(path.getAttribute("stroke")) / (data.colours.length - 1);
      path.style.strokeWidth = (high < 0 ? size + 1.6 : size * (1 + 0.5 * high)) + "px";
      if (high < 0) path.style.strokeOpacity = 0.25 + 0.75 * crowded;
    }
    const named = [];
    for (const group of [...$("marks").children].reverse()) {
      const radius = (5 + size / 2) * scale();
      for (const circle of group.querySelectorAll("circle")) circle.setAttribute("r", radius);
      const text = group.lastChild;
      text.style.fontSize = 12 * scale() + "px";
      text.setAttribute("dx", radius + 1 * scale());
      text.setAttribute("dy", -0.6 * radius);
      const [x, y] = ["x", "y"].map((name) => text.getAttribute(name) / scale());
      const free = named.every(([a, b]) => Math.abs(a - x) > 20 || Math.abs(b - y) > 13);
      text.style.display = free ? "" : "none";
      if (free) named.push([x, y]);
    }
    const wanted = 140 * scale();
    const power = 10 ** Math.floor(Math.log10(wanted));
    const bar = [5, 2, 1].map((k) => k * power).find((k) => k <= wanted);
    $("ruler").style.width = bar / scale() + "px";
    $("ruler-text").textContent = length(bar);
    ringChosen();
  }

  function zoom(factor, x, y) {
    const before = view.width;
    const at = x === undefined ? [view.x, view.y] : place(x, y);
    view.width *= factor;
    const widest = everything() * 1.05;
    view.width = Math.min(Math.max(view.width, Math.min(20, widest)), widest);
    const real = view.width / before;
    view.x = at[0] + (view.x - at[0]) * real;
    view.y = at[1] + (view.y - at[1]) * real;
    show();
  }

  function place(clientX, clientY) {
    const b = box();
    return [view.x + (clientX - b.left - b.width / 2) * scale(), view.y + (clientY - b.top - b.height / 2) * scale()];
  }

  function nearest(clientX, clientY) {
    const [x, y] = place(clientX, clientY);
    let best = (14 * scale()) ** 2;
    let found = -1;
    for (let i = 0; i < n; i++) {
      const d = (data.x[i] - x) ** 2 + (data.y[i] - y) ** 2;
      if (d < best) { best = d; found = i; }
    }
    return found;
  }

  // --- colours ---

  function shown() {
    const by = $("by").value;
    if (by !== "mean") return data.targets[+by];
    const first = data.targets[0];
    return { name: "expected", unit: first.unit, value: data.mean, std: data.std, low: first.low, high: first.high };
  }

  function colour() {
    const target = shown();
    const groups = data.colours.map(() => []);
    const extent = target.high - target.low || 1;
    target.value.forEach((v, i) => {
      if (v === null) return;
      const share = Math.min(1, Math.max(0, (v - target.low) / extent));
      groups[Math.floor(share * (groups.length - 1) + 0.5)].push(`M${data.x[i]} ${data.y[i]}h0`);
    });
    const paths = groups.flatMap((g, k) => g.length ? [element("path", { stroke: data.colours[k], d: g.join("") })] : []);
    $("points").replaceChildren(element("path", { class: "casing", d: groups.flat().join("") }), ...paths);
    $("low").textContent = "\u2264 " + short(target.low);
    $("high").textContent = "\u2265 " + short(target.high);
    $("unit").textContent = target.unit;
    show();
  }

  function mark() {
    const marks = [];
    for (let i = n - 1; i >= 0; i--) if (data.rank[i]) marks.push(i);
    marks.sort((a, b) => data.rank[b] - data.rank[a]);
    $("marks").replaceChildren(...marks.map((i) => {
      const at = { cx: data.x[i], cy: data.y[i] };
      const group = element("g", {});
      group.append(element("circle", { ...at, class: "halo" }), element("circle", { ...at, class: "ring" }));
      group.append(element("text", { x: data.x[i], y: data.y[i] }, data.rank[i]));
      return group;
    }));
  }

  function ringChosen() {
    const group = $("chosen");
    if (chosen < 0) { group.replaceChildren(); return; }
    const at = { cx: data.x[chosen], cy: data.y[chosen], r: 10 * scale() };
    group.replaceChildren(element("circle", { ...at, class: "halo" }), element("circle", { ...at, class: "ring" }));
  }

  // --- one point ---

  function position(i) {
    const at = [data.x[i] + data.centre[0], data.y[i] + data.centre[1]];
    const far = Math.max(...at.map(Math.abs));
    if (far >= 1000) return at.map((nm) => rounded(nm / 1000, 3)).join(", ") + " \u00b5m";
    return at.map((nm) => rounded(nm, far >= 100 ? 1 : 2)).join(", ") + " nm";
  }

  const title = (i) => data.name[i] || "step " + data.step[i];

  function row(list, name, text) {
    const line = html("div");
    line.append(html("dt", name), html("dd", text));
    list.append(line);
  }

  function choose(i) {
    chosen = i;
    ringChosen();
    const panel = $("panel");
    if (i < 0) { panel.replaceChildren(html("p", "Click a point to see its data.", "hint")); return; }
    const head = html("h3");
    if (data.rank[i]) head.append(html("span", data.rank[i], "rank"));
    head.append(html("span", title(i)));
    const list = html("dl");
    for (const t of data.targets) {
      if (t.value[i] !== null) row(list, t.name, `${withStd(t.value[i], t.std[i])} ${t.unit}`);
    }
    if (data.mean[i] !== null && data.std[i] !== null) row(list, "expected " + data.targets[0].name, withStd(data.mean[i], data.std[i]));
    row(list, "at", position(i));
    row(list, "step", `${data.step[i]}, ${data.time[i]}`);
    panel.replaceChildren(head, list);
    if (data.reason[i]) panel.append(html("p", data.reason[i], "reason"));
    const card = data.rank[i] ? document.querySelector(`.card[data-step="${data.step[i]}"] .sight`) : null;
    if (card) panel.append(card.cloneNode(true));
    panel.dataset.step = data.step[i];
  }

  function follow() {
    const match = /^#point-(\d+)$/.exec(location.hash);
    const i = match ? data.step.indexOf(+match[1]) : -1;
    if (i < 0) return;
    view.x = data.x[i];
    view.y = data.y[i];
    view.width = Math.min(view.width, everything() / 4);
    choose(i);
    show();
    $("map").scrollIntoView();
  }

  // --- hands ---

  let grip = null;
  let moved = 0;
  chart.addEventListener("pointerdown", (event) => {
    grip = [event.clientX, event.clientY];
    moved = 0;
    chart.setPointerCapture(event.pointerId);
  });
  chart.addEventListener("pointermove", (event) => {
    const tip = $("tip");
    if (grip) {
      const [dx, dy] = [event.clientX - grip[0], event.clientY - grip[1]];
      moved += Math.abs(dx) + Math.abs(dy);
      if (moved > 4) {
        chart.classList.add("moving");
        view.x -= dx * scale();
        view.y -= dy * scale();
        grip = [event.clientX, event.clientY];
        show();
      }
      tip.hidden = true;
      return;
    }
    const i = nearest(event.clientX, event.clientY);
    tip.hidden = i < 0;
    if (i < 0) return;
    const target = shown();
    const value = target.value[i] === null ? "" : ": " + withStd(target.value[i], target.std[i]) + " " + target.unit;
    tip.textContent = title(i) + value;
    const b = box();
    tip.style.left = Math.min(event.clientX - b.left + 14, b.width - tip.offsetWidth - 6) + "px";
    tip.style.top = Math.max(4, event.clientY - b.top - 30) + "px";
  });
  chart.addEventListener("pointerup", (event) => {
    if (grip && moved <= 4) choose(nearest(event.clientX, event.clientY));
    grip = null;
    chart.classList.remove("moving");
  });
  chart.addEventListener("pointercancel", () => { grip = null; chart.classList.remove("moving"); });
  chart.addEventListener("pointerleave", () => { $("tip").hidden = true; });
  chart.addEventListener("wheel", (event) => {
    if (document.activeElement !== chart && !event.ctrlKey) return;
    event.preventDefault();
    zoom(Math.exp(event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), event.clientX, event.clientY);
  }, { passive: false });
  chart.addEventListener("keydown", (event) => {
    const step = view.width / 8;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (event.key in moves) {
      view.x += moves[event.key][0];
      view.y += moves[event.key][1];
      show();
    } else if (event.key === "+" || event.key === "=") zoom(0.7);
    else if (event.key === "-") zoom(1 / 0.7);
    else if (event.key === "0") all();
    else if (event.key === "Escape") choose(-1);
    else return;
    event.preventDefault();
  });

  function all() {
    Object.assign(view, { x: 0, y: 0, width: everything() });
    show();
  }

  $("in").addEventListener("click", () => zoom(0.6));
  $("out").addEventListener("click", () => zoom(1 / 0.6));
  $("all").addEventListener("click", all);
  $("by").addEventListener("change", colour);
  $("show-points").addEventListener("change", (event) => { $("points").style.display = event.target.checked ? "" : "none"; });
  $("show-marks").addEventListener("change", (event) => { $("marks").style.display = event.target.checked ? "" : "none"; });
  addEventListener("resize", show);
  addEventListener("hashchange", follow);

  if (!data.mean.some((v) => v !== null)) $("by").querySelector('[value="mean"]').remove();
  mark();
  all();
  if (data.targets.length) colour();
  else $("by").closest(".key").hidden = true;
  follow();
})();
