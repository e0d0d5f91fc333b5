"use strict";
// Which curves belong together, by their names.

const GROUPS = [
  { name: "Training", open: true },
  { name: "Validation", open: true },
  { name: "Loss terms", open: true },
  { name: "Gradients", open: true },
  { name: "Signals", open: true },
  { name: "Speed and memory", open: false },
  { name: "Others", open: true },
];

// Not curves to look at: what they say stands elsewhere.
const isHidden = (name) => name === "train/epoch" || name === "epoch" || name.startsWith("baseline/");

// Set, not measured: to smooth them would show rates and limits that never were.
const isExact = (name) => /learning_rate|(^|\/)lr([-/_]|$)|threshold/i.test(name);

function groupOf(name) {
  const low = name.toLowerCase();
  if (/^(train|val|eval|test)\/loss\/./.test(low)) return "Loss terms";
  if (/(^|\/)signal\//.test(low)) return "Signals";
  if (/grad|clip|update_ratio|^train\/shadow\//.test(low)) return "Gradients";
  if (/per_second|data_wait|step_ms|memory|runtime|throughput/.test(low)) return "Speed and memory";
  if (/^(val|valid|validation|eval|test)([/_]|$)/.test(low)) return "Validation";
  if (/^train([/_]|$)|learning_rate|^lr([-/_]|$)|^loss$/.test(low)) return "Training";
  return "Others";
}

// The curves of training and validation loss, by the names that trainers give them.
const LOSSES = ["train/batch_loss", "train/loss", "train_loss", "train_loss_step", "loss", "train/epoch_avg_loss"];
const VALIDATION_LOSSES = ["val/loss", "val_loss", "eval_loss", "eval/loss", "valid_loss", "validation/loss"];

function firstOf(names, runs) {
  return names.find((name) => runs.some((run) => run.curves.has(name)));
}

const baselineOf = (name) => `baseline/${name.replace(/^val\//, "").replace(/^ema\//, "")}`;
