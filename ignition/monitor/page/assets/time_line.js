"use strict";
// What was found, below the curves and along the same axis; each mark leads to its text.

const timeLine = {
  LANE: 30,
  NEAR: 13,  // pixels: marks closer than that become one

  draw(width) {
    const runs = view.told.shown.filter((run) => run.marks.length);
    const node = byId("time-line");
    node.hidden = runs.length === 0 || !width;
    if (node.hidden) return;
    const focused = document.activeElement?.dataset?.mark;
    const domain = view.domain;
    const x = (value) => EDGE.left + ((value - domain[0]) / (domain[1] - domain[0] || 1)) * (width - EDGE.left - EDGE.right);
    const height = runs.length * this.LANE + 6;
    const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": "Findings along the run" });
    runs.forEach((run, lane) => svg.append(this.lane(run, lane * this.LANE + this.LANE / 2 + 3, x, width)));
    node.replaceChildren(svg);
    if (focused) node.querySelector(`[data-mark="${focused}"]`)?.focus({ preventScroll: true });
  },

  lane(run, y, x, width) {
    const group = drawn("g", { class: run.colour },
      drawn("line", { class: "lane", x1: EDGE.left, x2: width - EDGE.right, y1: y, y2: y }),
      drawn("text", { class: "quiet", x: EDGE.left - 7, y, dy: "0.32em", "text-anchor": "end" }, "found"));
    if (view.told.runs.length > 1) group.append(drawn("rect", { class: "swatch", x: EDGE.left - 4, y: y - 9, width: 3, height: 18, rx: 1.5 }));
    const inside = run.marks.map((mark) => ({ mark, at: x(view.placeOfMark(mark)) })).filter(({ at }) => at >= EDGE.left - 1 && at <= width - EDGE.right + 1);
    for (const { mark, at } of inside) {
      if (mark.ended === null || mark.finding.severity === "info") continue;
      const end = Math.min(x(view.placeOfMark(mark, mark.ended)), width - EDGE.right);
      group.append(drawn("line", { class: `span ${mark.finding.severity}`, x1: at.toFixed(1), x2: Math.max(end, at).toFixed(1), y1: y, y2: y }));
    }
    const clusters = [];
    for (const each of inside.sort((a, b) => a.at - b.at)) {
      const last = clusters.at(-1);
      if (last && each.at - last.at < this.NEAR) last.marks.push(each.mark);
      else clusters.push({ at: each.at, marks: [each.mark] });
    }
    return fill(group, {}, clusters.map((cluster) => this.mark(cluster, y)));
  },

  mark({ at, marks }, y) {
    const worst = marks.reduce((a, b) => (SEVERITY[b.finding.severity].weight > SEVERITY[a.finding.severity].weight ? b : a));
    const { severity, name, first, message } = worst.finding;
    const more = marks.length > 1 ? `, and ${count(marks.length - 1, "finding")} beside it` : "";
    return drawn("a", { href: `#${worst.id}`, class: `mark ${severity}${marks.some(({ id }) => id === view.marked) ? " chosen" : ""}`, "data-mark": worst.id, "aria-label": `${severity}: ${words(name)} at iteration ${first}${more}`, onclick: () => findings.choose(worst.id) },
      drawn("title", {}, `${words(name)}, iteration ${first.toLocaleString("en")}${more}\n${message}`),
      drawn("rect", { class: "target", x: at - 12, y: y - 14, width: 24, height: 28, rx: 6 }),
      drawn("path", { d: SEVERITY[severity].shape, transform: `translate(${at.toFixed(1)} ${y})` }),
      marks.length > 1 ? drawn("text", { class: "count", x: at + 8, y: y - 6 }, marks.length) : null);
  },
};
