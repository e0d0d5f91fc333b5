"use strict";
// Elements made of plain values. Text goes in as text: nothing that a run says is ever read as HTML.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const element = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const drawn = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
const byId = (id) => document.getElementById(id);

// Whether parts stand one above the other; as in page.css.
const narrow = () => matchMedia("(max-width: 1020px)").matches;

// Sets text only where it differs, so that nothing is laid out or selected anew without need.
function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function set(node, name, value) {
  if (value === null || value === undefined || value === false) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value === true ? "" : value);
}

// A button that copies what it stands for; says so for a moment.
function copyButton(text, what) {
  const button = element("button", {
    type: "button", class: "copy", "aria-label": `Copy ${what}`,
    onclick: async () => {
      say(button, (await copied(text)) ? "Copied" : "Press Ctrl+C");
      setTimeout(() => say(button, "Copy"), 2000);
    },
  }, "Copy");
  return button;
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {  // without https and not on this machine
    const area = element("textarea", { class: "unseen", readonly: true });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}
