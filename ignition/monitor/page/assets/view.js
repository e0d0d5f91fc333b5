"use strict";
// How the curves are looked at: along what, how smooth, which part.

const AXES = { iteration: "Iteration", epoch: "Epoch", time: "Time" };

const view = {
  told: new Told(),
  axis: "iteration",
  smoothing: 0.7,
  log: false,
  zoom: null,     // [low, high] along the axis
  cursor: null,   // where along the axis somebody looks
  marked: null,   // the mark of a finding that was chosen
  search: "",

  // Where along the axis each point of a curve of that run lies; NaN where that is not known.
  places(run, curve) {
    if (this.axis === "time") {
      const began = run.began;
      return curve.time.map((time) => (time === null || began === null ? NaN : time - began));
    }
    const unit = this.axis === "epoch" ? run.perEpoch ?? 1 : 1;
    return unit === 1 ? curve.at : curve.at.map((at) => at / unit);
  },

  placeOfMark({ run, finding }, iteration = finding.first) {
    if (this.axis === "iteration") return iteration;
    if (this.axis === "epoch") return iteration / (run.perEpoch ?? 1);
    return timeAt(run, iteration) ?? (finding.time === null ? NaN : finding.time - run.began);
  },

  // From the beginning to the newest point of all runs that are shown.
  get whole() {
    let high = 0;
    for (const run of this.told.shown) {
      for (const curve of run.curves.values()) {
        const last = curve.at.length - 1;
        const place = this.axis === "time" ? curve.time[last] - run.began
          : curve.at[last] / (this.axis === "epoch" ? run.perEpoch ?? 1 : 1);
        if (place > high) high = place;
      }
    }
    return [0, high || 1];
  },

  get domain() { return this.zoom ?? this.whole; },

  get ticks() { return this.axis === "time" ? timeTicks : ticks; },

  tick(value) { return this.axis === "time" ? duration(value) : number(value); },

  placeName(value) {
    if (this.axis === "time") return `${duration(value)} after the start`;
    return `${this.axis} ${this.axis === "iteration" ? Math.round(value).toLocaleString("en") : number(value)}`;
  },

  zoomTo(low, high) {
    const [first, last] = this.whole;
    const span = Math.max(high - low, (last - first) / 2000);
    const middle = (low + high) / 2;
    this.zoom = span >= (last - first) * 0.999 ? null
      : [Math.max(middle - span / 2, first), Math.min(middle + span / 2, last)];
    page.redraw();
  },
};

// Seconds after a run's start at which it was in an iteration, by the curve that has the most points.
function timeAt(run, iteration) {
  let best = null;
  for (const curve of run.curves.values()) if (!best || curve.at.length > best.at.length) best = curve;
  if (!best) return null;
  const place = Math.min(lowerBound(best.at, iteration), best.at.length - 1);
  return best.time[place] === null ? null : best.time[place] - run.began;
}

// The first place in rising values that is not below `value`.
function lowerBound(values, value) {
  let low = 0, high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

function nearest(values, value) {
  const place = lowerBound(values, value);
  if (place === 0) return 0;
  if (place === values.length) return place - 1;
  return value - values[place - 1] < values[place] - value ? place - 1 : place;
}
