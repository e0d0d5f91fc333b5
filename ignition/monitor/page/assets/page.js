"use strict";
// Asks for what is new and has it shown; the rest of the page knows nothing of servers.

const page = {
  EVERY: 1000,         // milliseconds between questions
  EVERY_AWAY: 5000,    // where nobody looks
  LONGEST_WAIT: 15000, // where nobody answers
  failures: 0,

  start() {
    curves.prepare();
    pictures.prepare();
    byId("theme").addEventListener("click", () => { theme.next(); this.tellTheme(); });
    document.addEventListener("visibilitychange", () => { if (!document.hidden) this.ask(); });
    document.addEventListener("keydown", (event) => { if (event.key === "Escape" && view.zoom && event.target === document.body) view.zoomTo(...view.whole); });
    this.tellTheme();
    const told = byId("told");
    if (told) {
      const news = JSON.parse(told.textContent);
      this.take(news);
      this.tellConnection("file", `As of ${clock(news.now)}`);
    } else this.ask();
  },

  async ask() {
    clearTimeout(this.next);
    if (this.asking) return;
    this.asking = true;
    const news = await this.answer();
    this.failures = news ? 0 : this.failures + 1;
    this.tellConnection(...(news ? ["live", "Live"] : ["lost", "Connection lost, trying again"]));
    this.asking = false;
    const pause = document.hidden ? this.EVERY_AWAY : this.EVERY;
    this.next = setTimeout(() => this.ask(), this.failures ? Math.min(pause * 2 ** this.failures, this.LONGEST_WAIT) : pause);
    if (news) this.take(news);
  },

  // Null where there is none.
  async answer() {
    try {
      const answer = await fetch(`data?since=${view.told.version}&feed=${view.told.feed}`, { signal: AbortSignal.timeout(30000) });
      return answer.ok ? await answer.json() : null;
    } catch {
      return null;
    }
  },

  take(news) {
    const fresh = view.told.take(news);
    runs.show();
    if (fresh.has("curves") || fresh.has("state")) curves.arrange();
    curves.legend();
    findings.show();
    review.show();
    pictures.show();
    settings.show();
    if (fresh.has("curves") || fresh.has("findings")) this.redraw();
  },

  // Once for all that has changed until the next frame.
  redraw() {
    if (this.drawing) return;
    this.drawing = true;
    requestAnimationFrame(() => {
      this.drawing = false;
      curves.draw();
    });
  },

  moveCursor() {
    if (this.moving) return;
    this.moving = true;
    requestAnimationFrame(() => {
      this.moving = false;
      curves.moveCursor();
    });
  },

  tellConnection(kind, text) {
    set(byId("connection"), "class", `connection ${kind}`);
    say(byId("connection"), text);
  },

  tellTheme() {
    const names = { auto: "Light or dark: as the system", light: "Light", dark: "Dark" };
    say(byId("theme"), { auto: "◐", light: "☀", dark: "☾" }[theme.now]);
    set(byId("theme"), "aria-label", `Colours: ${names[theme.now]}`);
    set(byId("theme"), "title", names[theme.now]);
  },
};

page.start();
