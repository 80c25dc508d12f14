"use strict";
// What is shown is data: texts become text nodes, never HTML.

const data = JSON.parse(document.getElementById("data").textContent);
const root = document.documentElement;
const main = document.getElementById("page");

function element(tag, fields = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(fields)) {
    if (name === "class") made.className = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

// An array of the page, as numbers, NaN where there is none.
function array(name) {
  const spec = data.arrays[name];
  if (spec === undefined) return null;
  const text = atob(document.getElementById(`array-${name}`).textContent);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  if (spec.kind === "f8") return new Float64Array(bytes.buffer);
  if (spec.kind === "f4") return new Float32Array(bytes.buffer);
  const whole = spec.kind === "i2" ? new Int16Array(bytes.buffer) : new Int8Array(bytes.buffer);
  const most = spec.kind === "i2" ? 32767 : 127;
  const length = whole.length / spec.half.length;
  const found = new Float32Array(whole.length);
  for (let i = 0; i < whole.length; i++) {
    const row = Math.floor(i / length);
    found[i] = whole[i] < -most ? NaN : spec.middle[row] + (spec.half[row] * whole[i]) / most;
  }
  return found;
}

function short(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return String(value);
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e5) ? value.toExponential(2) : String(Number(value.toPrecision(4)));
}

function colour(name) {
  return getComputedStyle(root).getPropertyValue(name).trim();
}

// -- the frame ----------------------------------------------------------------------------------------------------

const redraws = [];

function theme(kind) {
  root.dataset.theme = kind;
  for (const redraw of redraws) redraw();
}

function frame() {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  root.dataset.theme = dark.matches ? "dark" : "light";
  dark.addEventListener("change", (event) => theme(event.matches ? "dark" : "light"));
  main.replaceChildren(element("h1", {}, data.title));
  if (data.line) main.append(element("p", { class: "soft" }, data.line));
}

function themeButton() {
  return element("button", { type: "button", title: "dark or light (d)", onclick: toggleTheme }, "dark / light");
}

function toggleTheme() {
  theme(root.dataset.theme === "dark" ? "light" : "dark");
}

function footer() {
  const rows = Object.entries(data.facts).map(([name, value]) => element("tr", {}, element("th", {}, name), element("td", {}, value)));
  main.append(element("h2", {}, "What was asked"), element("div", { class: "scroll" }, element("table", {}, ...rows)));
  if (data.call) main.append(element("p", { class: "soft" }, "To repeat it:"), element("pre", {}, data.call));
  for (const note of data.notes || []) main.append(element("p", { class: "soft" }, note));
}

// Keys do nothing while somebody types or moves a slider.
function keys(actions) {
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) || event.ctrlKey || event.metaKey || event.altKey;
    const action = typing ? undefined : actions[event.key];
    if (action !== undefined) {
      action();
      event.preventDefault();
    }
  });
}

// How dates stand under an axis, by the distance of its ticks in seconds: as uPlot reads it, in 24 hours.
const DATES = [
  [3600 * 24 * 365, "{YYYY}", null, null, null, null, null, null, 1],
  [3600 * 24 * 28, "{MMM}", "\n{YYYY}", null, null, null, null, null, 1],
  [3600 * 24, "{MMM} {D}", "\n{YYYY}", null, null, null, null, null, 1],
  [60, "{HH}:{mm}", "\n{MMM} {D}", null, "\n{MMM} {D}", null, null, null, 1],
  [1, "{HH}:{mm}:{ss}", "\n{MMM} {D}", null, "\n{MMM} {D}", null, null, null, 1],
  [0.001, ":{ss}.{fff}", "\n{MMM} {D} {HH}:{mm}", null, "\n{MMM} {D} {HH}:{mm}", null, "\n{HH}:{mm}", null, 1],
];

// Steps are whole numbers.
const WHOLE = Array.from({ length: 9 }, (_, n) => [1, 2, 5].map((one) => one * 10 ** n)).flat();

// -- series -------------------------------------------------------------------------------------------------------

function seriesPage() {
  const D = data.features.length, K = Math.max(1, data.targets.length), steps = data.steps;
  const clock = array("times");
  const state = { series: 0, target: 0, order: "score", filter: "", top: 0, from: 0, to: 0, plots: new Map(), zooming: false };
  let score, value, stderr, xs, largest, signed, ranked, cut, T;

  const readout = element("div", { class: "readout", "aria-live": "polite" });
  const timeRow = element("div", { class: "row time" });
  const rows = element("div", {});
  const seriesChoice = element("select", { id: "series", onchange: () => load(Number(seriesChoice.value), state.target) },
    ...data.series.map((one, index) => element("option", { value: index }, one.title)));
  const targetChoice = element("select", { id: "target", onchange: () => load(state.series, Number(targetChoice.value)) },
    ...data.targets.map((one, index) => element("option", { value: index }, one)));
  const orderChoice = element("select", { id: "order", onchange: () => { state.order = orderChoice.value; layout(); } },
    ...[["score", "by score"], ["view", "by score in view"], ["given", "as given"], ["name", "by name"]].map(([key, text]) => element("option", { value: key }, text)));
  const filter = element("input", { id: "filter", type: "search", placeholder: "feature", size: 10, oninput: () => { state.filter = filter.value.toLowerCase(); layout(); } });
  const slider = element("input", { id: "top", type: "range", min: 0, max: 1000, value: 1000, oninput: () => threshold() });
  const kept = element("span", { id: "kept" });
  const legend = element("span", { class: "legend" });
  const bar = element("div", { class: "bar" },
    element("label", {}, "series", seriesChoice),
    ...(data.targets.length ? [element("label", {}, "output", targetChoice)] : []),
    element("label", {}, "features", orderChoice), filter,
    element("label", {}, "highest", slider, kept),
    element("button", { type: "button", title: "whole series (0)", onclick: () => zoom(0, T - 1) }, "whole"),
    themeButton(), legend, readout);
  main.append(bar, timeRow, rows);
  main.append(element("p", { class: "soft keys" },
    "Drag to zoom, double-click for the whole. Keys: n, p series · t output · + − zoom · ← → move · 0 whole · s order · / find · d dark."));

  const at = (d, t) => score[(state.target * D + d) * steps + t];
  const rgb = (share, negative) => `rgba(${colour(negative ? "--low" : "--high")}, ${(0.1 + 0.75 * share).toFixed(3)})`;

  function load(series, target) {
    if (series !== state.series || score === undefined) {
      score = array(`score-${series}`);
      value = array(`value-${series}`);
      stderr = array(`stderr-${series}`);
      T = Math.max(1, data.series[series].steps);
      const begin = clock !== null && clock.length > steps ? series * steps : 0;
      xs = clock === null ? Float64Array.from({ length: T }, (_, t) => t) : clock.subarray(begin, begin + T);
      for (let t = 1; t < T; t++) if (!(xs[t] > xs[t - 1])) { xs = Float64Array.from({ length: T }, (_, i) => i); break; }
      state.from = 0;
      state.to = T - 1;
    }
    state.series = series;
    state.target = target;
    seriesChoice.value = series;
    if (data.targets.length) targetChoice.value = target;
    const sizes = [];
    signed = false;
    for (let d = 0; d < D; d++) for (let t = 0; t < T; t++) {
      const one = at(d, t);
      if (!Number.isNaN(one)) sizes.push(Math.abs(one));
    }
    ranked = Float32Array.from(sizes).sort().reverse();
    largest = ranked[0] || 1;
    for (let d = 0; d < D && !signed; d++) for (let t = 0; t < T; t++) if (at(d, t) < -0.01 * largest) { signed = true; break; }
    const one = (kind, text) => [element("i", { class: kind }), text];
    legend.replaceChildren(...(signed ? [...one("high", "positive"), ...one("low", "negative")] : one("low", "score")));
    threshold();
  }

  // The slider goes from one cell to all, finer where there are few.
  function threshold() {
    const count = Math.max(1, Math.round(Math.pow(ranked.length, Number(slider.value) / 1000)));
    state.top = Math.min(count, ranked.length);
    cut = state.top >= ranked.length ? -1 : ranked[state.top - 1];
    kept.textContent = `${state.top.toLocaleString("en")} of ${ranked.length.toLocaleString("en")} cells`;
    layout();
  }

  function means(from, to) {
    const feature = new Float64Array(D), time = new Float64Array(T), known = new Uint32Array(T);
    for (let d = 0; d < D; d++) {
      let count = 0;
      for (let t = 0; t < T; t++) {
        const size = Math.abs(at(d, t));
        if (Number.isNaN(size)) continue;
        time[t] += size;
        known[t] += 1;
        if (t >= from && t <= to) { feature[d] += size; count += 1; }
      }
      feature[d] /= Math.max(1, count);
    }
    for (let t = 0; t < T; t++) time[t] /= Math.max(1, known[t]);
    return { feature, time };
  }

  function layout() {
    const whole = means(0, T - 1), view = means(state.from, state.to);
    let shown = data.features.map((_, d) => d).filter((d) => data.features[d].toLowerCase().includes(state.filter));
    if (state.order === "score") shown.sort((a, b) => whole.feature[b] - whole.feature[a] || a - b);
    if (state.order === "view") shown.sort((a, b) => view.feature[b] - view.feature[a] || a - b);
    if (state.order === "name") shown.sort((a, b) => data.features[a].localeCompare(data.features[b], "en", { numeric: true }));
    for (const plot of state.plots.values()) plot.destroy();
    state.plots.clear();
    observer.disconnect();
    timeRow.replaceChildren(element("div", { class: "name" }, element("b", {}, data.score), element("span", { class: "soft" }, "mean size over features")), element("div", { class: "plot" }));
    const most = Math.max(...whole.feature) || 1;
    rows.replaceChildren(...shown.map((d) => {
      const bar = element("i", {});
      bar.style.width = `${(100 * view.feature[d]) / most}%`;
      const row = element("div", { class: "row", "data-feature": d },
        element("div", { class: "name" }, element("b", { title: data.features[d] }, data.features[d]), element("div", { class: "share" }, bar), element("span", { class: "soft" }, short(view.feature[d]))),
        element("div", { class: "plot" }));
      observer.observe(row);
      return row;
    }));
    state.plots.set("time", plot(timeRow.lastChild, [xs, whole.time], { height: 104, axis: true, fill: true }));
  }

  // A plot is made when its row comes into sight: hundreds of features open at once.
  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const d = Number(entry.target.dataset.feature);
      if (!entry.isIntersecting || state.plots.has(d)) continue;
      // A gap is null to uPlot.
      const ys = Array.from({ length: T }, (_, t) => (value === null || Number.isNaN(value[d * steps + t]) ? null : value[d * steps + t]));
      state.plots.set(d, plot(entry.target.lastChild, [xs, ys], { height: 72, feature: d }));
    }
  }, { rootMargin: "400px" });

  function plot(place, series, { height, axis = false, fill = false, feature = null }) {
    const text = colour("--soft");
    const made = new uPlot({
      width: Math.max(120, place.clientWidth), height, legend: { show: false }, pxAlign: 0, padding: [8, 14, axis ? 0 : 8, 0],
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      cursor: { sync: { key: "rambit", setSeries: false, scales: ["x", null] }, drag: { x: true, y: false }, y: false, points: { show: false } },
      scales: { x: { time: data.times === "date", min: xs[state.from], max: xs[state.to] } },
      axes: [
        { show: axis, stroke: text, ...(clock === null ? { incrs: WHOLE } : {}), ...(data.times === "date" ? { values: DATES } : {}), grid: { stroke: colour("--line"), width: 0.5 }, ticks: { stroke: colour("--line") }, size: data.times === "date" ? 40 : 28 },
        { stroke: text, size: 52, grid: { show: false }, ticks: { show: false }, splits: (u, i, low, high) => [low, high], values: (u, values) => values.map(short) },
      ],
      series: [{}, { stroke: fill ? `rgb(${colour("--high")})` : colour("--curve"), width: 1.2, points: { show: T < 60 }, fill: fill ? `rgba(${colour("--high")}, .25)` : undefined, spanGaps: false }],
      hooks: {
        drawClear: feature === null ? [] : [(u) => behind(u, feature)],
        setCursor: [(u) => { if (u.cursor.idx !== null && u.cursor.idx !== undefined && u.cursor.event) tell(feature, u.cursor.idx); }],
        setScale: [(u, key) => { if (key === "x" && !state.zooming) follow(u); }],
      },
    }, series, place);
    return made;
  }

  // Scores as colours behind a curve; of steps that share a pixel, the largest.
  function behind(u, d) {
    const { ctx } = u, { left, top, width, height } = u.bbox;
    const low = u.valToIdx(u.scales.x.min), high = u.valToIdx(u.scales.x.max);
    const edge = (t) => u.valToPos(t <= 0 ? xs[0] - (xs[1] - xs[0] || 1) / 2 : t >= T ? xs[T - 1] + (xs[T - 1] - xs[T - 2] || 1) / 2 : (xs[t - 1] + xs[t]) / 2, "x", true);
    ctx.save();
    ctx.beginPath();
    ctx.rect(left, top, width, height);
    ctx.clip();
    let begin = edge(low), best = 0;
    for (let t = low; t <= high; t++) {
      const one = at(d, t);
      if (Math.abs(one) > Math.abs(best)) best = one;
      const end = edge(t + 1);
      if (end - begin < 1 && t < high) continue;
      if (Math.abs(best) >= cut && best !== 0) {
        ctx.fillStyle = signed ? rgb(Math.abs(best) / largest, best < 0) : rgb(Math.abs(best) / largest, true);
        ctx.fillRect(begin, top, Math.max(1, end - begin), height);
      }
      begin = end;
      best = 0;
    }
    ctx.restore();
  }

  function timeText(t) {
    if (data.times === "date") return new Date(xs[t] * 1000).toISOString().replace("T", " ").replace(/(:00)?\.000Z$|Z$/, "");
    return `${short(xs[t])}${data.times === "seconds" ? " s" : data.unit ? ` ${data.unit}` : ""}`;
  }

  function tell(feature, t) {
    if (t >= T) return;
    const parts = [`${data.times === null ? "step" : "time"} ${timeText(t)}`];
    if (feature !== null) {
      parts.unshift(data.features[feature]);
      if (value !== null) parts.push(`value ${short(value[feature * steps + t])}`);
      const error = stderr === null ? NaN : stderr[(state.target * D + feature) * steps + t];
      parts.push(`score ${short(at(feature, t))}${Number.isNaN(error) ? "" : ` ± ${short(error)}`}`);
    }
    readout.textContent = parts.join(" · ");
  }

  function follow(u) {
    const low = u.valToIdx(u.scales.x.min), high = u.valToIdx(u.scales.x.max);
    if (low !== state.from || high !== state.to) zoom(low, Math.max(high, low + 1));
  }

  function zoom(from, to) {
    state.from = Math.max(0, Math.min(from, T - 2));
    state.to = Math.min(T - 1, Math.max(to, state.from + 1));
    state.zooming = true;
    for (const plot of state.plots.values()) plot.setScale("x", { min: xs[state.from], max: xs[state.to] });
    const { feature } = means(state.from, state.to), most = Math.max(...means(0, T - 1).feature) || 1;
    for (const row of rows.children) {
      const d = Number(row.dataset.feature);
      row.querySelector("i").style.width = `${Math.min(100, (100 * feature[d]) / most)}%`;
      row.querySelector(".soft").textContent = short(feature[d]);
    }
    queueMicrotask(() => { state.zooming = false; });
  }

  function move(share) {
    const by = Math.round((state.to - state.from) * share) || Math.sign(share), width = state.to - state.from;
    const from = Math.max(0, Math.min(T - 1 - width, state.from + by));
    zoom(from, from + width);
  }

  function closer(factor) {
    const middle = (state.from + state.to) / 2, half = Math.max(1, ((state.to - state.from) / 2) * factor);
    zoom(Math.round(middle - half), Math.round(middle + half));
  }

  const next = (by) => load((state.series + by + data.series.length) % data.series.length, state.target);
  keys({
    n: () => next(1), p: () => next(-1), t: () => load(state.series, (state.target + 1) % K),
    "+": () => closer(0.5), "=": () => closer(0.5), "-": () => closer(2), "0": () => zoom(0, T - 1),
    ArrowLeft: () => move(-0.25), ArrowRight: () => move(0.25), d: toggleTheme, "/": () => filter.focus(),
    s: () => { orderChoice.selectedIndex = (orderChoice.selectedIndex + 1) % orderChoice.options.length; state.order = orderChoice.value; layout(); },
  });
  let width = window.innerWidth;
  window.addEventListener("resize", () => { if (window.innerWidth !== width) { width = window.innerWidth; layout(); } });
  window.addEventListener("beforeprint", () => { for (const row of rows.children) observer.unobserve(row); });
  redraws.push(layout);
  load(0, 0);
}

// -- images -------------------------------------------------------------------------------------------------------

function canvas(label, height, width, scale) {
  const made = element("canvas", { width, height, role: "img", "aria-label": label });
  made.style.width = `${width * scale}px`;
  return made;
}

// A map, and the picture (channels of `planes` values) below it, as the page holds them; with their ranges.
function pictured(score, picture, channels, planes) {
  const ranked = score.filter((one) => !Number.isNaN(one)).sort().reverse();
  const largest = Math.max(Math.abs(ranked[0] || 0), Math.abs(ranked[ranked.length - 1] || 0)) || 1;
  let low = Infinity, high = -Infinity;
  if (picture !== null) for (const one of picture) { if (one < low) low = one; if (one > high) high = one; }
  return { score, picture, channels, planes, ranked, largest, low, high };
}

// The map over the picture, and the positions that are shown, from number `begin` on; returns how many these are.
function paint(whole, part, one, begin, shade, shows) {
  const count = whole.width * whole.height, hot = colour("--high").split(",").map(Number);
  const contexts = [whole, part].map((canvas) => canvas.getContext("2d")), images = contexts.map((context) => context.createImageData(whole.width, whole.height));
  let kept = 0;
  for (let i = 0; i < count; i++) {
    const at = begin + i, value = one.score[at], base = [255, 255, 255], grey = [255, 255, 255];
    if (one.picture !== null) for (let c = 0; c < 3; c++) base[c] = (255 * (one.picture[(one.channels === 3 ? c : 0) * one.planes + at] - one.low)) / (one.high - one.low || 1);
    // Under the map the picture is grey, so that red is the map's.
    grey.fill((base[0] + base[1] + base[2]) / 3);
    const share = shade * Math.max(0, Number.isNaN(value) ? 0 : value / one.largest), shown = shows(at);
    kept += shown ? 1 : 0;
    for (let c = 0; c < 3; c++) {
      images[0].data[4 * i + c] = (shade > 0 ? grey : base)[c] * (1 - share) + hot[c] * share;
      images[1].data[4 * i + c] = shown ? base[c] : 128;
    }
    images[0].data[4 * i + 3] = 255;
    images[1].data[4 * i + 3] = shown ? 255 : 60;
  }
  contexts.forEach((context, index) => context.putImageData(images[index], 0, 0));
  return kept;
}

function imagePage() {
  const [Z, H, W] = data.grid, plane = H * W, scale = Math.max(1, Math.floor(480 / Math.max(H, W)));
  const one = pictured(array("score"), array("picture"), data.channels, Z * plane), { score, ranked } = one;
  const masks = data.masks.map((_, index) => array(`mask-${index}`));
  const whole = canvas("the map over the picture", H, W, scale), part = canvas("the part that is kept", H, W, scale);
  const readout = element("div", { class: "readout", "aria-live": "polite" });
  const choice = element("select", { id: "mask", onchange: draw }, ...data.masks.map((name, index) => element("option", { value: index }, name)), element("option", { value: -1 }, "the highest of the map"));
  const slider = element("input", { id: "top", type: "range", min: 0, max: 1000, value: 100, oninput: () => { choice.value = -1; draw(); } });
  const slice = element("input", { id: "slice", type: "range", min: 0, max: Z - 1, value: Math.floor(Z / 2), oninput: draw });
  const shade = element("input", { id: "shade", type: "range", min: 0, max: 100, value: 65, oninput: draw });
  main.append(element("div", { class: "bar" },
    element("label", {}, "part", choice), element("label", {}, "highest", slider), element("label", {}, "map", shade),
    ...(Z > 1 ? [element("label", {}, "slice", slice)] : []), themeButton(), readout),
    element("div", { class: "picture" }, whole, part));

  function draw() {
    const z = Number(slice.value), chosen = Number(choice.value), cut = ranked[Math.min(ranked.length - 1, Math.round((ranked.length - 1) * Number(slider.value) / 1000))];
    const count = paint(whole, part, one, z * plane, Number(shade.value) / 100, (at) => (chosen >= 0 ? masks[chosen][at] > 0 : score[at] >= cut));
    readout.textContent = `${((100 * count) / plane).toFixed(1)} % of ${H} × ${W}${Z > 1 ? `, slice ${z}` : ""}`;
  }
  for (const canvas of [whole, part]) canvas.addEventListener("mousemove", (event) => {
    const box = canvas.getBoundingClientRect(), x = Math.floor(((event.clientX - box.left) / box.width) * W), y = Math.floor(((event.clientY - box.top) / box.height) * H);
    if (x >= 0 && y >= 0 && x < W && y < H) readout.textContent = `row ${y}, column ${x} · responsibility ${short(score[Number(slice.value) * plane + y * W + x])}`;
  });
  keys({ d: toggleTheme });
  redraws.push(draw);
  draw();
}

// Many images below each other; one is drawn when it first comes into sight.
function galleryPage() {
  const drawn = new Map();
  const redraw = () => { for (const draw of drawn.values()) draw(); };
  const shade = element("input", { id: "shade", type: "range", min: 0, max: 100, value: 65, oninput: redraw });
  const filter = element("input", { id: "filter", type: "search", placeholder: "name or class", "aria-label": "name or class", oninput: find });
  const sections = data.sections.map((section, number) => element("section", { "data-number": number }, element("h2", {}, section.title), element("p", { class: "soft" }, section.line)));
  main.append(element("div", { class: "bar" }, element("label", {}, "show", filter), element("label", {}, "map", shade), themeButton()), ...sections);
  const observer = new IntersectionObserver((entries) => { for (const entry of entries) if (entry.isIntersecting) open(Number(entry.target.dataset.number)); }, { rootMargin: "600px" });
  for (const [number, section] of sections.entries()) {
    const { height, width } = data.sections[number];
    section.style.minHeight = `${height * scaleOf(height, width) + 60}px`;
    observer.observe(section);
  }

  function scaleOf(height, width) {
    return Math.max(1, Math.floor(300 / Math.max(height, width)));
  }

  function open(number) {
    if (drawn.has(number)) return;
    const { height, width, masks } = data.sections[number], scale = scaleOf(height, width);
    const picture = array(`picture-${number}`), plane = height * width;
    const one = pictured(array(`score-${number}`), picture, picture === null ? 0 : picture.length / plane, plane);
    const parts = masks.map((_, index) => array(`mask-${number}-${index}`));
    const whole = canvas("the map over the picture", height, width, scale), part = canvas("the part that is kept", height, width, scale);
    const choice = element("select", { "aria-label": "part", onchange: () => draw() }, ...masks.map((name, index) => element("option", { value: index }, name)));
    const draw = () => paint(whole, part, one, 0, Number(shade.value) / 100, (at) => parts.length > 0 && parts[Number(choice.value)][at] > 0);
    sections[number].append(...(masks.length > 1 ? [choice] : []), element("div", { class: "picture" }, whole, ...(masks.length > 0 ? [part] : [])));
    drawn.set(number, draw);
    draw();
  }

  function find() {
    const wanted = filter.value.toLowerCase();
    for (const [number, { title, line }] of data.sections.entries()) sections[number].hidden = !`${title}\n${line}`.toLowerCase().includes(wanted);
  }
  window.addEventListener("beforeprint", () => sections.forEach((_, number) => open(number)));
  keys({ d: toggleTheme, "/": () => filter.focus() });
  redraws.push(redraw);
}

// -- documents and tables -----------------------------------------------------------------------------------------

function documentPage() {
  const sheet = (lines, mark) => element("div", { class: "sheet" }, ...lines.map(([depth, text, kept]) => element("div", { class: mark ? (kept ? "kept" : "left") : "" }, "  ".repeat(depth) + text)));
  const side = (title, lines, mark) => element("div", {}, element("h2", {}, title), sheet(lines, mark));
  main.append(element("div", { class: "bar" }, themeButton()), element("div", { class: "sheets" },
    side("What suffices", data.kept, false), ...(data.whole === null ? [] : [side("The whole document", data.whole, true)])));
  keys({ d: toggleTheme });
}

function tablePage() {
  const body = element("tbody", {}), state = { column: null, down: true };
  const head = element("tr", {}, ...data.columns.map((name, index) => element("th", {}, element("button", { type: "button", onclick: () => sort(index) }, name))));
  const fill = (rows) => body.replaceChildren(...rows.map((row) => element("tr", {}, ...row.map((one) => (typeof one === "number" ? element("td", { class: "number" }, short(one)) : element("td", {}, one === null ? "–" : String(one)))))));
  function sort(column) {
    state.down = state.column === column ? !state.down : true;
    state.column = column;
    const sign = state.down ? -1 : 1;
    fill([...data.rows].sort((a, b) => {
      const x = a[column], y = b[column];
      if (x === null || y === null) return (x === null) - (y === null);
      return sign * (typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true }));
    }));
  }
  main.append(element("div", { class: "bar" }, themeButton()), element("div", { class: "scroll" }, element("table", {}, element("thead", {}, head), body)));
  for (const { title, source } of data.figures) main.append(element("h2", {}, title), element("img", { src: source, alt: title }));
  fill(data.rows);
  keys({ d: toggleTheme });
}

frame();
({ series: seriesPage, image: imagePage, gallery: galleryPage, document: documentPage, table: tablePage })[data.kind]();
footer();
