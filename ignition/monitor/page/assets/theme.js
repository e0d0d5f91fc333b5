"use strict";
// Light, dark, or as the system says. First of all scripts, so that the page is never shown in the wrong one.

const theme = {
  names: ["auto", "light", "dark"],
  now: "auto",

  apply(name) {
    this.now = this.names.includes(name) ? name : "auto";
    if (this.now === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = this.now;
  },

  next() {
    this.apply(this.names[(this.names.indexOf(this.now) + 1) % this.names.length]);
    kept.set("theme", this.now);
  },
};

// What this browser remembers; a page opened from disk may not be allowed to.
const kept = {
  get(name) {
    try { return localStorage.getItem(`ignition.${name}`); } catch { return null; }
  },
  set(name, value) {
    try { localStorage.setItem(`ignition.${name}`, value); } catch { /* then it is forgotten */ }
  },
};

theme.apply(kept.get("theme"));
