"use strict";
// How each run stands: alive and good, how far, when done.

const STATUS = {
  running: ["good", "Running"], finished: ["done", "Finished"], stopped: ["done", "Stopped"], preempted: ["warning", "Interrupted"],
  diverged: ["critical", "Diverged"], failed: ["critical", "Failed"], dead: ["critical", "Dead"], silent: ["warning", "Silent"],
  waiting: ["quiet", "Waiting"], log: ["quiet", "Log"],
};

const runs = {
  cards: new Map(),

  show() {
    const several = view.told.runs.length > 1;
    if (this.cards.size !== view.told.runs.length) {
      this.cards = new Map(view.told.runs.map((run) => [run.id, this.card()]));
      byId("runs").replaceChildren(...[...this.cards.values()].map((card) => card.node));
    }
    for (const run of view.told.runs) this.tell(this.cards.get(run.id), run, several);
    document.title = this.title();
  },

  card() {
    const parts = {
      swatch: element("i", { class: "key" }), name: element("h2", {}), pill: element("span", { class: "pill" }), sentence: element("p", { class: "sentence" }),
      bar: element("progress", { max: "1", "aria-label": "How much of the run is done" }), facts: element("dl", { class: "facts" }),
      found: element("p", { class: "found" }), path: element("p", { class: "path" }), problems: element("ul", { class: "problems" }), notes: element("ul", { class: "known" }), values: new Map(),
    };
    const node = element("article", { class: "card" }, element("div", { class: "title" }, parts.swatch, parts.name, parts.pill), parts.sentence, parts.bar, parts.facts, parts.found, parts.problems, parts.notes, parts.path);
    return { ...parts, node };
  },

  tell(card, run, several) {
    const { state } = run;
    const [tone, label] = STATUS[state.status] ?? ["quiet", state.status ?? "Waiting"];
    set(card.node, "class", `card ${tone}`);
    set(card.swatch, "class", `key ${run.colour}`);
    card.swatch.hidden = !several;
    say(card.name, run.name);
    say(card.path, run.path);
    set(card.pill, "class", `pill ${tone}`);
    say(card.pill, label);
    say(card.sentence, this.sentence(state));
    card.bar.hidden = state.share === null || state.share === undefined;
    if (!card.bar.hidden) card.bar.value = state.share;
    this.facts(card, this.factsOf(run));
    this.found(card.found, run);
    this.list(card.problems, run.problems);
    this.list(card.notes, run.notes);
  },

  list(node, texts) {
    node.hidden = texts.length === 0;
    if (node.childElementCount !== texts.length || node.textContent !== texts.join("")) node.replaceChildren(...texts.map((text) => element("li", {}, text)));
  },

  sentence(state) {
    const reason = state.reason ? `${state.reason[0].toUpperCase()}${state.reason.slice(1)}.`.replace("..", ".") : "";
    const done = state.share === null || state.share === undefined ? "" : `${Math.floor(state.share * 100)} % done. `;
    if (state.read < 1) return `Reading its log: ${Math.floor(state.read * 100)} %.`;
    if (state.status === "running") {
      if (state.seconds_left !== null && state.seconds_left !== undefined) return `${done}Ready in ${duration(state.seconds_left)}, at ${clock(view.told.now + state.seconds_left)}.`;
      return done || "It has begun.";
    }
    if (state.status === "silent") return `${done}No row for ${duration(state.silent_seconds)}, longer than it has ever been.`;
    if (state.status === "waiting") return "Nothing is there yet.";
    if (state.status === "log") return `A log of another trainer, ${state.iteration ?? 0 ? `up to iteration ${state.iteration.toLocaleString("en")}` : "without rows yet"}.`;
    const after = state.seconds ? ` It ran for ${duration(state.seconds)}, until ${clock(view.told.now - (state.silent_seconds ?? 0))}.` : "";
    return `${state.share < 1 ? done : ""}${reason}${after}`;
  },

  factsOf(run) {
    const { state } = run;
    const of = (value, all) => (value === null || value === undefined ? null : `${value.toLocaleString("en")}${all ? ` of ${all.toLocaleString("en")}` : ""}`);
    const known = (value, text) => (value === null || value === undefined ? null : text ?? number(value));
    return [
      ["Epoch", of(state.epoch, state.epochs)],
      ["Iteration", of(state.iteration, state.iterations)],
      [state.metric ? `Best ${state.metric}` : "Best", known(state.best), known(state.trivial, `trivial ${number(state.trivial, 3)}`)],
      ["Speed", known(state.steps_per_second, `${number(state.steps_per_second, 3)} steps/s`)],
      ["Learning rate", known(state.learning_rate, number(state.learning_rate, 3))],
      ["Loss: val less train", known(state.gap, `${state.gap > 0 ? "+" : ""}${number(state.gap, 3)}`)],
      ["Newest row", state.status === "finished" ? null : known(state.silent_seconds, `${duration(state.silent_seconds)} ago`)],
      ["Checkpoint", state.checkpoint ? state.checkpoint.split("/").at(-1).replace(/^iteration-0*/, "iteration\u00a0").replace(/\.pt$/, "") : null],
      ["Disk left", known(state.disk_left, bytes(state.disk_left))],
    ].filter(([, value]) => value !== null);
  },

  facts(card, facts) {
    const names = facts.map(([name]) => name).join("|");
    if (card.names !== names) {
      card.names = names;
      card.values = facts.map(() => ({ value: element("dd", {}), more: element("small", {}) }));
      card.facts.replaceChildren(...facts.map(([name], n) => element("div", {}, element("dt", {}, name), fill(card.values[n].value, {}, [element("span", {}), card.values[n].more]))));
    }
    facts.forEach(([, value, more], n) => {
      say(card.values[n].value.firstChild, value);
      say(card.values[n].more, more ? ` ${more}` : "");
    });
  },

  found(node, run) {
    const open = run.marks.filter(({ finding, ended }) => finding.severity !== "info" && ended === null);
    const over = run.marks.filter(({ finding, ended }) => finding.severity !== "info" && ended !== null);
    const critical = open.filter(({ finding }) => finding.severity === "critical").length;
    const parts = [
      critical ? count(critical, "critical finding") : "", open.length - critical ? count(open.length - critical, "warning") : "",
      over.length ? (open.length ? `${over.length} more that ${over.length === 1 ? "is" : "are"} over` : `${count(over.length, "finding")}, ${over.length === 1 ? "" : "all "}over`) : "",
    ].filter(Boolean);
    set(node, "class", `found ${critical ? "critical" : open.length ? "warning" : "good"}`);
    const text = parts.length ? `${parts.join(", ")}. ` : "Nothing wrong was found.";
    if (node.dataset.text === text) return;
    node.dataset.text = text;
    node.replaceChildren(text, parts.length ? element("a", { href: "#findings" }, "What, and what to do") : "");
  },

  title() {
    const all = view.told.runs;
    const alarms = all.flatMap((run) => run.marks).filter(({ finding, ended }) => finding.severity !== "info" && ended === null).length;
    const first = all[0];
    if (!first) return "ignition";
    const share = first.state.share;
    const how = first.state.status === "running" && share !== null && share !== undefined ? `${Math.floor(share * 100)} %` : (STATUS[first.state.status] ?? ["", ""])[1].toLowerCase();
    return `${alarms ? `(${alarms}) ` : ""}${all.length === 1 ? `${how} · ${first.name}` : `${all.length} runs`} · ignition`;
  },
};
