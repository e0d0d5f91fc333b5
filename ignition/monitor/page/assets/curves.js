"use strict";
// All charts: which there are, their controls, and which of them have to be drawn now.

const curves = {
  charts: new Map(),   // by what they show
  groups: new Map(),

  prepare() {
    this.watcher = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        const chart = this.chartOf(target);
        if (!chart) continue;
        chart.seen = isIntersecting;
        if (isIntersecting) page.redraw();
      }
    }, { rootMargin: "150px" });
    this.ruler = new ResizeObserver((entries) => {
      for (const { target, contentRect } of entries) {
        const chart = this.chartOf(target.parentElement);
        if (chart) chart.width = Math.floor(contentRect.width);
      }
      page.redraw();
    });
    for (const [axis, label] of Object.entries(AXES)) {
      byId("axis").append(element("label", {}, element("input", { type: "radio", name: "axis", value: axis, checked: axis === view.axis, onchange: () => { view.axis = axis; view.zoom = null; page.redraw(); } }), element("span", {}, label)));
    }
    byId("smoothing").addEventListener("input", (event) => { view.smoothing = Number(event.target.value); kept.set("smoothing", view.smoothing); this.tellSmoothing(); page.redraw(); });
    byId("log").addEventListener("change", (event) => { view.log = event.target.checked; page.redraw(); });
    byId("search").addEventListener("input", (event) => { view.search = event.target.value.trim().toLowerCase(); this.arrange(); page.redraw(); });
    byId("all").addEventListener("click", () => { view.zoom = null; page.redraw(); });
    const before = Number(kept.get("smoothing") ?? view.smoothing);
    if (before >= 0 && before < 1) view.smoothing = before;
    byId("smoothing").value = view.smoothing;
    this.tellSmoothing();
  },

  tellSmoothing() { say(byId("smoothing-value"), view.smoothing ? view.smoothing.toFixed(2) : "off"); },

  chartOf(node) { return [...this.charts.values()].find((chart) => chart.node === node); },

  // Makes the charts that are missing, takes away those whose curves are gone.
  arrange() {
    const runs = view.told.runs;
    const names = [...new Set(runs.flatMap((run) => [...run.curves.keys()]))].filter((name) => !isHidden(name));
    for (const id of ["curves", "groups"]) byId(id).hidden = names.length === 0;
    set(byId("main"), "class", names.length ? null : "without-curves");
    const loss = firstOf(LOSSES, runs) ?? names.find((name) => /loss/i.test(name));
    const held = firstOf(VALIDATION_LOSSES, runs);
    const metric = runs.map((run) => run.state.metric).find((name) => name && names.includes(name) && name !== held);
    const wanted = new Map();
    if (loss) wanted.set("hero loss", { place: byId("heroes"), series: [{ metric: loss }, ...(held && held !== loss ? [{ metric: held, dashed: true }] : [])], look: { tall: true, title: "Loss" } });
    if (metric) wanted.set("hero metric", { place: byId("heroes"), series: [{ metric }], look: { tall: true, title: "Score" } });
    for (const group of GROUPS) {
      const members = names.filter((name) => groupOf(name) === group.name && name.toLowerCase().includes(view.search));
      this.group(group, members.length);
      for (const name of members) wanted.set(`curve ${name}`, { place: this.groups.get(group.name).grid, series: [{ metric: name }], look: {} });
    }
    for (const [key, chart] of this.charts) {
      const same = wanted.has(key) && wanted.get(key).series.map(({ metric: each }) => each).join() === chart.series.map(({ metric: each }) => each).join();
      if (!same) this.drop(key, chart);
    }
    const places = new Map([...this.groups.values()].map(({ grid }) => [grid, []]).concat([[byId("heroes"), []]]));
    for (const [key, { place, series, look }] of wanted) {
      if (!this.charts.has(key)) this.make(key, series, look);
      places.get(place).push(this.charts.get(key).node);
    }
    for (const [place, nodes] of places) {  // moved only where the order is another one: that would take the focus away
      if (nodes.length !== place.childElementCount || nodes.some((node, n) => place.children[n] !== node)) place.replaceChildren(...nodes);
    }
  },

  group({ name, open }, members) {
    if (!this.groups.has(name)) {
      if (!members) return;
      const grid = element("div", { class: "grid-of-charts" });
      const size = element("small", {});
      const node = element("details", { class: "group", open: open && !(narrow() && name !== GROUPS[0].name), ontoggle: () => page.redraw() }, element("summary", {}, element("h3", {}, name), size), grid);
      this.groups.set(name, { node, grid, size });
      const order = GROUPS.map((group) => this.groups.get(group.name)?.node).filter(Boolean);
      byId("groups").replaceChildren(...order);
    }
    const { node, size } = this.groups.get(name);
    node.hidden = members === 0;
    say(size, String(members));
  },

  make(key, series, look) {
    const chart = new Chart(series, look);
    this.charts.set(key, chart);
    this.watcher.observe(chart.node);
    this.ruler.observe(chart.plot);
  },

  drop(key, chart) {
    this.watcher.unobserve(chart.node);
    this.ruler.unobserve(chart.plot);
    chart.node.remove();
    this.charts.delete(key);
  },

  draw() {
    byId("all").hidden = view.zoom === null;
    for (const chart of this.charts.values()) if (chart.seen) chart.draw();
    timeLine.draw(Math.floor(byId("heroes").clientWidth) - 2);
  },

  moveCursor() { for (const chart of this.charts.values()) if (chart.seen) chart.showCursor(); },

  // Buttons that show and hide runs; only where there are several.
  legend() {
    const node = byId("legend");
    const runs = view.told.runs;
    node.hidden = runs.length < 2;
    if (node.hidden) return;
    if (node.childElementCount !== runs.length) {
      node.replaceChildren(...runs.map((run) => element("button", { type: "button", onclick: () => this.toggle(run.id) }, element("i", { class: `key ${run.colour}` }), element("span", {}))));
    }
    runs.forEach((run, n) => {
      say(node.children[n].lastChild, run.name);
      set(node.children[n], "aria-pressed", String(run.shown));
      set(node.children[n], "title", run.path);
    });
  },

  toggle(id) {
    const run = view.told.runs.find((each) => each.id === id);
    run.shown = !run.shown;
    if (!view.told.shown.length) for (const each of view.told.runs) each.shown = each.id !== id || view.told.runs.length === 1;
    this.legend();
    settings.show();
    page.redraw();
  },
};
