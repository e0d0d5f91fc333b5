"use strict";
// What the newest evaluation drew.

const pictures = {
  prepare() {
    byId("large").addEventListener("click", (event) => { if (event.target === byId("large")) byId("large").close(); });
  },

  show() {
    const told = view.told.runs.filter((run) => run.pictures.length);
    byId("pictures").hidden = told.length === 0;
    const list = byId("pictures-list");
    const several = view.told.runs.length > 1;
    if (list.childElementCount !== told.length) {
      list.replaceChildren(...told.map(() => element("div", { class: "strip" }, element("h3", {}), element("div", { class: "pictures" }))));
    }
    told.forEach((run, n) => {
      const [title, row] = list.children[n].children;
      title.hidden = !several;
      say(title, run.name);
      run.pictures.forEach((picture, place) => this.put(row, place, run, picture));
      while (row.childElementCount > run.pictures.length) row.lastChild.remove();
    });
    const epochs = [...new Set(told.flatMap((run) => run.pictures.map(({ name }) => /^epoch-0*(\d+)/.exec(name)?.[1]).filter(Boolean)))];
    say(byId("pictures-epoch"), epochs.length ? `after epoch ${epochs.slice(0, 4).join(", ")}` : "");
  },

  // The old picture stays until the new one is there, in the same place.
  put(row, place, run, { name, changed, url }) {
    const source = url ?? `runs/${run.id}/pictures/${encodeURIComponent(name)}?${changed}`;
    let node = row.children[place];
    if (!node) {
      const image = element("img", { loading: "lazy", decoding: "async" });
      node = element("button", { type: "button", class: "picture", onclick: () => this.enlarge(image) }, image, element("span", {}));
      row.append(node);
    }
    const label = name.replace(/^epoch-\d+-/, "").replace(/\.\w+$/, "");
    const image = node.firstChild;
    if (image.dataset.source !== source) {
      image.dataset.source = source;
      image.src = source;
    }
    set(image, "alt", `${label} of ${run.name}`);
    say(node.lastChild, label);
  },

  enlarge(image) {
    const large = byId("large");
    large.querySelector("img").src = image.src;
    large.querySelector("img").alt = image.alt;
    large.showModal();
  },
};
