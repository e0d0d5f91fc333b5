"use strict";
// What went wrong and what to do: findings of the run, and what was objected to before it.

const SEVERITY = {
  critical: { weight: 2, shape: "M0 -7.5L7.5 6H-7.5Z" },
  warning: { weight: 1, shape: "M0 -7L7 0L0 7L-7 0Z" },
  info: { weight: 0, shape: "M-4 0A4 4 0 1 0 4 0A4 4 0 1 0 -4 0Z" },
};

const findings = {
  get most() { return narrow() ? 4 : 60; },  // shown at once: where they stand above the curves, few
  all: false,
  shown: "",

  show() {
    const marks = view.told.runs.flatMap((run) => run.marks);
    byId("findings").hidden = view.told.runs.length === 0;
    const key = JSON.stringify([this.all, view.told.runs.length, marks.map(({ id, ended, finding }) => [id, ended, finding.message, finding.done])]);
    if (key === this.shown) return;
    this.shown = key;
    const newest = (a, b) => (b.finding.time ?? 0) - (a.finding.time ?? 0) || b.finding.iteration - a.finding.iteration;
    const serious = marks.filter(({ finding }) => finding.severity !== "info").sort((a, b) => (a.ended !== null) - (b.ended !== null) || newest(a, b));
    const notes = marks.filter(({ finding }) => finding.severity === "info").sort(newest);
    const list = byId("findings-list");
    const narrow = matchMedia("(max-width: 1020px)").matches; // notes would push the curves out of sight there
    const notesOpen = list.querySelector("details.notes")?.open ?? (serious.length === 0 && !narrow);
    const focused = document.activeElement?.id;
    const shown = this.all ? serious : serious.slice(0, this.most);
    const earlier = view.told.runs.reduce((sum, run) => sum + run.firstFinding, 0);
    list.replaceChildren(...[
      marks.length ? null : element("p", { class: "quiet" }, "Nothing was found so far."),
      ...shown.map((mark) => this.text(mark)),
      shown.length < serious.length ? element("button", { type: "button", onclick: () => { this.all = true; this.show(); } }, `Show ${serious.length - shown.length} more`) : null,
      notes.length ? element("details", { class: "notes", open: notesOpen }, element("summary", {}, count(notes.length, "note")), ...notes.slice(0, 200).map((mark) => this.text(mark))) : null,
      earlier ? element("p", { class: "quiet" }, `${count(earlier, "earlier one")} in the file.`) : null,
    ].filter(Boolean));
    if (focused) byId(focused)?.focus({ preventScroll: true });
  },

  text({ id, run, finding, ended }) {
    const when = Number.isFinite(finding.time) && finding.time ? `, ${clock(finding.time)}` : "";
    return element("article", { id, class: `finding ${finding.severity}${ended === null ? "" : " over"}${view.marked === id ? " chosen" : ""}`, tabindex: "-1" },
      element("header", {},
        drawn("svg", { viewBox: "-9 -9 18 18", "aria-hidden": "true" }, drawn("path", { d: SEVERITY[finding.severity].shape })),
        element("h3", {}, words(finding.name), finding.subject ? element("span", { class: "of" }, ` ${finding.subject}`) : null),
        element("span", { class: "severity" }, ended === null ? finding.severity : `${finding.severity}, over`)),
      element("p", { class: "when" }, view.told.runs.length > 1 ? [element("i", { class: `key ${run.colour}` }), `${run.name}, `] : null,
        element("button", { type: "button", class: "link", title: "Show it in the curves", onclick: () => this.point(id) }, `iteration ${finding.first.toLocaleString("en")}`),
        ended === null ? "" : ` to ${ended.toLocaleString("en")}`, when),
      element("p", {}, finding.message),
      finding.done ? element("p", { class: "done" }, element("b", {}, "Done: "), finding.done) : null,
      finding.advice.length ? element("ul", { class: "advice", "aria-label": "What to try" }, finding.advice.map((advice) => this.advice(advice.override, advice.why))) : null);
  },

  advice(override, why) {
    return element("li", {}, override ? element("span", { class: "paste" }, element("code", {}, override), copyButton(override, override)) : null, why ? element("span", { class: "why" }, why) : null);
  },

  // From the time line to the text.
  choose(id) {
    this.mark(id);
    const node = byId(id);
    node?.closest("details")?.setAttribute("open", "");
    node?.focus({ preventScroll: true });
    node?.scrollIntoView({ block: "center" });
  },

  // From the text to the curves.
  point(id) {
    this.mark(id);
    byId("heroes").scrollIntoView({ block: "nearest" });
  },

  mark(id) {
    view.marked = id;
    for (const node of document.querySelectorAll(".finding")) node.classList.toggle("chosen", node.id === id);
    page.redraw();
  },
};

const review = {
  shown: "",

  show() {
    const told = view.told.runs.filter((run) => run.objections.length);
    byId("review").hidden = told.length === 0;
    const key = JSON.stringify(told.map((run) => [run.id, run.objections]));
    if (key === this.shown) return;
    this.shown = key;
    byId("review-list").replaceChildren(...told.flatMap((run) => run.objections.map(({ key: setting, message, why, source, advice }) =>
      element("article", { class: "finding warning" },
        element("header", {}, element("h3", {}, element("code", {}, setting)), view.told.runs.length > 1 ? element("span", { class: "severity" }, run.name) : null),
        element("p", {}, message), element("p", { class: "why" }, source ? `${why} (${source})` : why),
        advice.length ? element("ul", { class: "advice", "aria-label": "What to try" }, advice.map((each) => findings.advice(each.override, each.why))) : null))));
  },
};
