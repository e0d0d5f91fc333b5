"use strict";
// The config of each run, and first of all in what runs differ.

const settings = {
  shown: "",

  show() {
    const told = view.told.shown.filter((run) => run.settings);
    byId("settings").hidden = told.length === 0;
    const key = JSON.stringify(told.map((run) => [run.id, run.settings]));
    if (key === this.shown) return;
    this.shown = key;
    const open = new Set([...byId("settings-list").querySelectorAll("details[open]")].map((node) => node.dataset.run));
    byId("settings-list").replaceChildren(...[told.length > 1 ? this.difference(told) : null, ...told.map((run) => this.whole(run, open))].filter(Boolean));
  },

  difference(told) {
    const each = told.map((run) => entries(run.settings));
    const keys = [...new Set(each.flatMap((values) => [...values.keys()]))].filter((name) => new Set(each.map((values) => values.get(name))).size > 1);
    if (!keys.length) return element("p", { class: "quiet" }, "The runs have the same settings.");
    return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Settings that differ" }, element("table", {}, element("caption", {}, `${count(keys.length, "setting")} ${keys.length === 1 ? "differs" : "differ"}`),
      element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "Setting"), told.map((run) => element("th", { scope: "col" }, element("i", { class: `key ${run.colour}` }), run.name)))),
      element("tbody", {}, keys.map((name) => element("tr", {}, element("th", { scope: "row" }, name), each.map((values) => element("td", {}, values.get(name) ?? MISSING)))))));
  },

  whole(run, open) {
    return element("details", { class: "config", "data-run": run.id, open: open.has(String(run.id)) },
      element("summary", {}, view.told.runs.length > 1 ? element("i", { class: `key ${run.colour}` }) : null, view.told.runs.length > 1 ? `config.yaml of ${run.name}` : "config.yaml"),
      copyButton(run.settings, "the config"), element("pre", { tabindex: "0" }, run.settings));
  },
};

// `optimizer.lr` to `0.001`, by the indentation of the lines; a line that is no key goes on with the one before.
function entries(text) {
  const values = new Map();
  const path = [];
  let last = null;
  for (const line of text.split("\n")) {
    const [, spaces, key, value] = /^( *)([^\s#:-][^:]*):(?: (.*))?$/.exec(line) ?? [];
    if (key === undefined) {
      if (last !== null && line.trim() && !line.trim().startsWith("#")) values.set(last, `${values.get(last) ?? ""} ${line.trim()}`.trim());
      continue;
    }
    while (path.length && path.at(-1).indent >= spaces.length) path.pop();
    path.push({ indent: spaces.length, key });
    last = path.map((part) => part.key).join(".");
    if (value !== undefined && value !== "") values.set(last, value);
  }
  return values;
}
