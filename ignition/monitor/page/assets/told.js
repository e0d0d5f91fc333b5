"use strict";
// What the server, or the file, has told of each run, put together.

class Run {
  constructor(id) {
    this.id = id;
    this.shown = true;
    this.name = `run ${id}`;
    this.path = "";
    this.state = {};
    this.settings = "";
    this.objections = [];
    this.pictures = [];
    this.problems = [];
    this.notes = [];
    this.curves = new Map();
    this.findings = [];      // the newest ones
    this.firstFinding = 0;   // the number of the first of these
    this.findingsTotal = 0;
    this.known = null;       // marks of these
  }

  get colour() { return `run-${this.id % 8}`; }

  // Returns the names of the parts that are new.
  take(news) {
    for (const part of ["name", "path", "state", "settings", "objections", "pictures", "problems", "notes"]) {
      if (part in news) this[part] = news[part];
    }
    for (const [name, columns] of Object.entries(news.curves || {})) this.takeCurve(name, columns);
    if (news.findings) this.takeFindings(news.findings);
    return Object.keys(news).filter((name) => name !== "id");
  }

  takeCurve(name, { from, at, time, mean, low = mean, high = mean }) {
    const curve = this.curves.get(name) || { at: [], time: [], mean: [], low: [], high: [] };
    const columns = { at, time, mean, low, high };
    for (const [column, values] of Object.entries(columns)) {
      curve[column].length = Math.min(from, curve[column].length);
      curve[column].push(...values);
    }
    curve.smoothed = null;
    if (curve.at.length) this.curves.set(name, curve);
    else this.curves.delete(name);
  }

  takeFindings({ from, total, rows }) {
    if (from < this.firstFinding || from > this.firstFinding + this.findings.length) {
      this.firstFinding = from;
      this.findings = [];
    }
    this.findings.length = from - this.firstFinding;
    this.findings.push(...rows);
    const surplus = Math.max(this.findings.length - Run.FINDINGS, 0);
    this.findings.splice(0, surplus);
    this.firstFinding += surplus;
    this.findingsTotal = total;
    this.known = null;
  }

  // Findings with the iteration in which each ended; what only says that another one ended is left out.
  get marks() {
    if (this.known) return this.known;
    const marks = [];
    this.findings.forEach((finding, place) => {
      const open = finding.name === "recovered"
        ? marks.filter((mark) => mark.ended === null && mark.finding.name === finding.subject) : [];
      if (open.length) for (const mark of open) mark.ended = finding.first;
      else marks.push({ id: `finding-${this.id}-${this.firstFinding + place}`, run: this, finding, ended: null });
    });
    this.known = marks;
    return marks;
  }

  get perEpoch() {
    const { iteration, iterations, epoch, epochs } = this.state;
    if (iterations && epochs) return iterations / epochs;
    return iteration && epoch ? iteration / epoch : null;
  }

  get began() {
    let first = Infinity;
    for (const curve of this.curves.values()) if (curve.time[0] !== null && curve.time[0] < first) first = curve.time[0];
    return Number.isFinite(first) ? first : null;
  }
}
Run.FINDINGS = 500;

class Told {
  constructor() {
    this.runs = [];
    this.feed = "";
    this.version = 0;
    this.now = Date.now() / 1000;
  }

  // Returns a set of the parts that are new, over all runs.
  take(news) {
    if (news.whole) {
      const hidden = new Set(this.runs.filter((run) => !run.shown).map((run) => run.id));
      this.runs = news.runs.map(({ id }) => Object.assign(new Run(id), { shown: !hidden.has(id) }));
    }
    Object.assign(this, { feed: news.feed, version: news.version, now: news.now });
    return new Set(news.runs.flatMap((run) => this.runs.find(({ id }) => id === run.id)?.take(run) ?? []));
  }

  get shown() { return this.runs.filter((run) => run.shown); }
}
