"use strict";
// One picture of curves: drawn anew where something has changed, read by pointer, finger or keyboard.

const EDGE = { left: 54, right: 14, top: 8, bottom: 22 };
const DENSE = 60;  // points: fewer are evaluations, shown as dots and never smoothed

class Chart {
  // series: [{metric, dashed}]; the first gives the chart its name.
  constructor(series, { tall = false, title = "" } = {}) {
    this.series = series;
    this.height = tall ? 250 : 160;
    this.width = 0;
    this.seen = false;
    this.latest = element("span", { class: "latest" });
    this.svg = drawn("svg", { "aria-hidden": "true" });
    this.plot = element("div", { class: "plot", tabindex: "0", role: "slider", "aria-label": `${title || series[0].metric}, read by the arrow keys` }, this.svg);
    this.node = element("figure", { class: tall ? "chart tall" : "chart" },
      element("figcaption", {}, nameOf(series, title), this.latest), this.plot);
    this.node.dataset.metric = series[0].metric;
    this.listen();
  }

  // ------------------------------------------------------------------------------------------- what is drawn

  draw() {
    const domain = view.domain;
    const lines = this.lines(domain);
    this.drawnLines = lines;
    this.tellLatest();
    if (!this.width) return;
    const [width, height] = [this.width, this.height];
    const range = this.range(lines);
    const log = range.log;
    const x = (value) => EDGE.left + ((value - domain[0]) / (domain[1] - domain[0] || 1)) * (width - EDGE.left - EDGE.right);
    const scale = (value) => (log ? Math.log10(value) : value);
    const [bottom, top] = [scale(range.low), scale(range.high)];
    const y = (value) => EDGE.top + (1 - (scale(value) - bottom) / (top - bottom)) * (height - EDGE.top - EDGE.bottom);
    this.x = x;
    this.y = y;
    set(this.svg, "viewBox", `0 0 ${width} ${height}`);
    set(this.svg, "width", width);
    set(this.svg, "height", height);
    const clip = `clip-${Chart.number += 1}`;
    this.line = drawn("line", { class: "cursor", y1: EDGE.top, y2: height - EDGE.bottom, visibility: "hidden" });
    this.selection = drawn("rect", { class: "selection", y: EDGE.top, height: height - EDGE.top - EDGE.bottom, visibility: "hidden" });
    this.dots = drawn("g", {});
    this.svg.replaceChildren(
      drawn("clipPath", { id: clip }, drawn("rect", { x: EDGE.left - 3, y: EDGE.top - 3, width: Math.max(width - EDGE.left - EDGE.right + 6, 0), height: height - EDGE.top - EDGE.bottom + 6 })),
      this.grid(domain, range, x, y),
      drawn("g", { "clip-path": `url(#${clip})` }, this.marks(x), this.trivial(range, y), lines.map((line) => this.path(line, x, y, log))),
      this.selection, this.line, this.dots,
    );
    this.showCursor();
  }

  // The points to draw, of each run and series.
  lines(domain) {
    const lines = [];
    for (const run of view.told.shown) {
      for (const { metric, dashed } of this.series) {
        const curve = run.curves.get(metric);
        if (!curve) continue;
        const places = view.places(run, curve);
        const dense = curve.at.length > DENSE;
        const begin = Math.max(lowerBound(places, domain[0]) - 1, 0);
        const end = Math.min(lowerBound(places, domain[1]) + 2, places.length);
        lines.push({ run, metric, dashed, curve, places, dense, begin, end, smooth: dense ? smoothed(curve, isExact(metric) ? 0 : view.smoothing) : curve.mean });
      }
    }
    return lines;
  }

  // The values between bottom and top: all of the smooth line, and of the raw values all but the outermost hundredth.
  range(lines) {
    const values = [];
    for (const { curve, dense, smooth, begin, end } of lines) {
      const raw = curve.mean.slice(begin, end).filter((value) => value !== null).sort((a, b) => a - b);
      const off = dense && smooth !== curve.mean ? Math.floor(raw.length / 100) : 0;
      values.push(...raw.slice(off, raw.length - off));
      for (let n = begin; n < end; n += 1) if (smooth[n] !== null) values.push(smooth[n]);
      if (dense && smooth === curve.mean) values.push(...curve.low.slice(begin, end), ...curve.high.slice(begin, end));
    }
    let finite = values.filter((value) => value !== null && Number.isFinite(value));
    const log = view.log && finite.some((value) => value > 0);
    if (log) finite = finite.filter((value) => value > 0);
    let low = finite.reduce((a, b) => Math.min(a, b), Infinity), high = finite.reduce((a, b) => Math.max(a, b), -Infinity);
    if (low > high) [low, high] = [0, 1];
    for (const value of this.baselines()) {  // as long as it does not flatten the curves
      const span = high - low || Math.abs(high) || 1;
      if (log ? value > 0 : value > low - 2 * span && value < high + 2 * span) [low, high] = [Math.min(low, value), Math.max(high, value)];
    }
    if (log) return low === high ? { low: low / 2, high: high * 2, log } : { low: low / (high / low) ** 0.05, high: high * (high / low) ** 0.05, log };
    const room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
    return { low: low - room, high: high + room, log };
  }

  baselines() {
    const found = view.told.shown.map((run) => run.curves.get(baselineOf(this.series[0].metric))?.mean.at(-1));
    return [...new Set(found.filter((value) => value !== undefined && value !== null))].slice(0, 4);
  }

  grid(domain, range, x, y) {
    const { width, height } = this;
    const group = drawn("g", { class: "grid" });
    const wanted = Math.max(Math.floor((height - 30) / 34), 3);
    for (const value of (range.log ? logTicks : ticks)(range.low, range.high, wanted)) {
      const at = y(value).toFixed(1);
      group.append(drawn("line", { x1: EDGE.left, x2: width - EDGE.right, y1: at, y2: at }),
        drawn("text", { x: EDGE.left - 7, y: at, dy: "0.32em", "text-anchor": "end" }, number(Math.abs(value) < (range.high - range.low) * 1e-9 ? 0 : value, 3)));
    }
    const places = view.ticks(domain[0], domain[1], Math.max(Math.floor((width - 60) / 90), 2));
    for (const value of places) {
      const at = x(value);
      const anchor = at > width - 36 ? "end" : "middle";
      group.append(drawn("text", { x: anchor === "end" ? width - EDGE.right + 8 : at.toFixed(1), y: height - 5, "text-anchor": anchor }, view.tick(value)));
    }
    group.append(drawn("line", { class: "floor", x1: EDGE.left, x2: width - EDGE.right, y1: height - EDGE.bottom, y2: height - EDGE.bottom }));
    return group;
  }

  // Where something was found: a tick on the floor, and a line through the one that was chosen.
  marks(x) {
    const group = drawn("g", {});
    const floor = this.height - EDGE.bottom;
    for (const run of view.told.shown) {
      for (const mark of run.marks) {
        const chosen = view.marked === mark.id;
        if (mark.finding.severity === "info" && !chosen) continue;
        const at = x(view.placeOfMark(mark));
        if (!(at >= EDGE.left && at <= this.width)) continue;
        group.append(drawn("line", { class: `mark ${mark.finding.severity}${chosen ? " chosen" : ""}`, x1: at.toFixed(1), x2: at.toFixed(1), y1: chosen ? EDGE.top : floor - 6, y2: floor }));
      }
    }
    return group;
  }

  trivial(range, y) {
    const values = this.baselines().filter((value) => value > range.low && value < range.high);
    return values.map((value) => drawn("g", { class: "trivial" },
      drawn("line", { x1: EDGE.left, x2: this.width - EDGE.right, y1: y(value).toFixed(1), y2: y(value).toFixed(1) }),
      drawn("text", { x: this.width - EDGE.right - 2, y: (y(value) - 4 < EDGE.top + 8 ? y(value) + 12 : y(value) - 4).toFixed(1), "text-anchor": "end" }, values.length === 1 ? `trivial predictor ${number(value, 3)}` : "")));
  }

  path({ run, dashed, curve, places, dense, smooth, begin, end }, x, y, log) {
    const bad = (value) => value === null || value === undefined || !Number.isFinite(value) || (log && value <= 0);
    const trace = (values) => {
      let d = "", pen = false;
      for (let n = begin; n < end; n += 1) {
        if (bad(values[n]) || !Number.isFinite(places[n])) { pen = false; continue; }
        d += `${pen ? "L" : "M"}${x(places[n]).toFixed(1)} ${y(values[n]).toFixed(1)}`;
        pen = true;
      }
      return d;
    };
    const group = drawn("g", { class: `${run.colour}${dashed ? " dashed" : ""}` });
    if (dense) group.append(drawn("path", { class: "band", d: this.band(curve, places, begin, end, x, y, bad) }));
    if (dense && smooth !== curve.mean) group.append(drawn("path", { class: "raw", d: trace(curve.mean) }));
    group.append(drawn("path", { class: "line", d: trace(smooth) }));
    if (!dense && end - begin < this.width / 12) {
      for (let n = begin; n < end; n += 1) {
        if (!bad(curve.mean[n]) && Number.isFinite(places[n])) group.append(drawn("circle", { class: "dot", cx: x(places[n]).toFixed(1), cy: y(curve.mean[n]).toFixed(1), r: 2.4 }));
      }
    }
    return group;
  }

  // Between the lowest and the highest value of what each point stands for.
  band(curve, places, begin, end, x, y, bad) {
    let d = "";
    for (let n = begin; n < end; n += 1) {
      if (bad(curve.low[n]) || bad(curve.high[n]) || curve.low[n] === curve.high[n] || !Number.isFinite(places[n])) continue;
      const at = x(places[n]).toFixed(1);
      d += `M${at} ${y(curve.low[n]).toFixed(1)}V${y(curve.high[n]).toFixed(1)}`;
    }
    return d;
  }

  tellLatest() {
    const several = view.told.runs.length > 1;
    const parts = (this.drawnLines || []).filter(({ metric }) => metric === this.series[0].metric || this.series.length > 1).slice(0, 6)
      .map(({ run, curve, metric, dashed }) => ({ run, dashed, text: number(curve.mean.findLast((value) => value !== null)), metric }));
    const wanted = parts.map(({ text }) => text).join();
    if (this.told === wanted && this.latest.childElementCount === parts.length) return;
    this.told = wanted;
    this.latest.replaceChildren(...parts.map(({ run, dashed, text, metric }) => element("span", { class: several ? run.colour : "", title: `${run.name}: ${metric}, newest value` },
      several || this.series.length > 1 ? element("i", { class: `key ${run.colour}${dashed ? " dashed" : ""}` }) : null, text)));
  }

  // ------------------------------------------------------------------------------------------- how it is read

  listen() {
    const place = (event) => {
      const box = this.svg.getBoundingClientRect();
      const [low, high] = view.domain;
      const share = (event.clientX - box.left - EDGE.left) / Math.max(box.width - EDGE.left - EDGE.right, 1);
      return low + Math.min(Math.max(share, 0), 1) * (high - low);
    };
    this.plot.addEventListener("pointermove", (event) => {
      if (this.dragged !== undefined && Math.abs(event.clientX - this.dragged.pixel) > 6) this.select(this.dragged.place, place(event));
      this.look(place(event), event);
    });
    this.plot.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      this.dragged = { pixel: event.clientX, place: place(event) };
      this.plot.setPointerCapture(event.pointerId);
      this.look(place(event), event);
    });
    this.plot.addEventListener("pointerup", (event) => {
      const from = this.dragged;
      this.dragged = undefined;
      if (from && Math.abs(event.clientX - from.pixel) > 6) view.zoomTo(...[from.place, place(event)].sort((a, b) => a - b));
    });
    this.plot.addEventListener("pointercancel", () => { this.dragged = undefined; this.leave(); });
    this.plot.addEventListener("pointerleave", () => this.leave());
    this.plot.addEventListener("blur", () => this.leave());
    this.plot.addEventListener("dblclick", () => view.zoomTo(...view.whole));
    this.plot.addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    const line = (this.drawnLines || [])[0];
    const [low, high] = view.domain;
    const at = view.cursor ?? high;
    const zooms = { "+": 0.5, "=": 0.5, "-": 2 };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" || event.key === "0") view.zoomTo(...view.whole);
    else if (event.key in zooms) view.zoomTo(at - (at - low) * zooms[event.key], at + (high - at) * zooms[event.key]);
    else if (line && ["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) {
      const step = (event.key === "ArrowRight" ? 1 : -1) * (event.shiftKey ? 10 : 1);
      const next = event.key === "Home" ? line.begin : event.key === "End" ? line.end - 1
        : view.cursor === null ? line.end - 1 : nearest(line.places, at) + step;
      this.look(line.places[Math.min(Math.max(next, line.begin), line.end - 1)]);
    } else return;
    event.preventDefault();
  }

  select(from, to) {
    const [left, right] = [this.x(from), this.x(to)].sort((a, b) => a - b);
    set(this.selection, "x", left.toFixed(1));
    set(this.selection, "width", (right - left).toFixed(1));
    set(this.selection, "visibility", "visible");
  }

  look(place, event) {
    view.cursor = place;
    Chart.current = this;
    page.moveCursor();
    const rows = this.valuesAt(place);
    set(this.plot, "aria-valuemin", Math.floor(view.domain[0]));
    set(this.plot, "aria-valuemax", Math.ceil(view.domain[1]));
    set(this.plot, "aria-valuenow", Math.round(place));
    set(this.plot, "aria-valuetext", `${view.placeName(place)}: ${rows.map(({ run, metric, text }) => `${view.told.runs.length > 1 ? `${run.name} ` : ""}${this.series.length > 1 ? `${metric} ` : ""}${text}`).join(", ")}`);
    showValues(this, place, rows, event);
  }

  leave() {
    view.cursor = null;
    if (Chart.current === this) Chart.current = null;
    if (this.selection) set(this.selection, "visibility", "hidden");
    byId("values").hidden = true;
    page.moveCursor();
  }

  valuesAt(place) {
    return (this.drawnLines || []).filter(({ places }) => places.length).map((line) => {
      const n = nearest(line.places, place);
      const { mean, low, high } = line.curve;
      const range = low[n] !== high[n] ? ` (${number(low[n], 3)} to ${number(high[n], 3)})` : "";
      return { ...line, n, text: mean[n] === null ? "not finite" : number(mean[n]) + range };
    });
  }

  showCursor() {
    if (!this.line || !this.x) return;
    const [low, high] = view.domain;
    const at = view.cursor !== null && view.cursor >= low && view.cursor <= high ? this.x(view.cursor).toFixed(1) : null;
    set(this.line, "visibility", at === null ? "hidden" : "visible");
    this.dots.replaceChildren();
    if (at === null) return;
    set(this.line, "x1", at);
    set(this.line, "x2", at);
    if (Chart.current !== this) return;
    for (const { run, places, smooth, n } of this.valuesAt(view.cursor)) {
      const value = this.y(smooth[n]);
      if (Number.isFinite(value)) this.dots.append(drawn("circle", { class: `point ${run.colour}`, cx: this.x(places[n]).toFixed(1), cy: value.toFixed(1), r: 3.6 }));
    }
  }
}
Chart.number = 0;
Chart.current = null;

// `val/ap50` with what comes before the last word less loud.
function nameOf(series, title) {
  if (title) return element("span", { class: "name" }, element("b", {}, title), element("span", { class: "of" }, ` ${series.map(({ metric }) => metric).join(", ")}`));
  const cut = series[0].metric.lastIndexOf("/") + 1;
  return element("span", { class: "name", title: series[0].metric }, element("span", { class: "of" }, series[0].metric.slice(0, cut)), element("b", {}, series[0].metric.slice(cut)));
}

// A running mean that forgets, without the pull of its beginning towards zero (as in Adam: Kingma and Ba, 2015).
function smoothed(curve, weight) {
  if (curve.smoothed?.weight === weight) return curve.smoothed.values;
  let mean = 0, mass = 0;
  const values = weight === 0 ? curve.mean : curve.mean.map((value) => {
    if (value === null) return null;
    mean = mean * weight + value * (1 - weight);
    mass = mass * weight + (1 - weight);
    return mean / mass;
  });
  curve.smoothed = { weight, values };
  return values;
}

// The values where somebody looks, beside the pointer or above the chart.
function showValues(chart, place, rows, event) {
  const box = byId("values");
  const several = view.told.runs.length > 1;
  const time = rows.length ? rows[0].curve.time[rows[0].n] : null;
  box.replaceChildren(element("p", {}, view.placeName(rows.length ? rows[0].places[rows[0].n] : place), time ? element("span", {}, ` ${clock(time)}`) : null),
    ...rows.slice(0, 12).map(({ run, metric, dashed, text }) => element("p", {}, element("i", { class: `key ${run.colour}${dashed ? " dashed" : ""}` }),
      [several ? run.name : "", chart.series.length > 1 || !several ? metric : ""].filter(Boolean).join(" "), " ", element("b", {}, text))));
  box.hidden = rows.length === 0;
  const plot = chart.plot.getBoundingClientRect();
  const at = event ? event.clientX : plot.left + (chart.x ? chart.x(place) : 0);
  const width = box.offsetWidth;
  const left = at + 16 + width < innerWidth ? at + 16 : Math.max(at - 16 - width, 8);
  const top = Math.min(Math.max((event ? event.clientY : plot.top) - box.offsetHeight - 12, 8), innerHeight - box.offsetHeight - 8);
  box.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
}
