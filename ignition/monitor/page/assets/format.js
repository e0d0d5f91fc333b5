"use strict";
// Numbers, times and sizes in words.

const MISSING = "–";

// Four digits that count, 0.5886, 4.151, 1,152, 2.0e-5.
function number(value, digits = 4) {
  if (value === null || value === undefined || !Number.isFinite(value)) return MISSING;
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-3) return value.toExponential(Math.max(digits - 3, 1)).replace("e+", "e");
  if (Number.isInteger(value)) return value.toLocaleString("en");
  return String(Number(value.toPrecision(digits)));
}

const count = (value, one, many = `${one}s`) => `${value.toLocaleString("en")} ${value === 1 ? one : many}`;

// 45 s, 4 min 40 s, 2 h 10 min, 3 d 4 h
function duration(seconds) {
  if (seconds === null || seconds === undefined) return MISSING;
  const s = Math.round(seconds);
  if (s < 60) return `${s}\u00a0s`;
  if (s < 3600) return s < 600 && s % 60 ? `${Math.floor(s / 60)}\u00a0min ${s % 60}\u00a0s` : `${Math.round(s / 60)}\u00a0min`;
  const minutes = Math.round(s / 60);
  if (minutes < 48 * 60) return minutes % 60 ? `${Math.floor(minutes / 60)}\u00a0h ${minutes % 60}\u00a0min` : `${minutes / 60}\u00a0h`;
  const hours = Math.round(minutes / 60);
  return hours % 24 ? `${Math.floor(hours / 24)}\u00a0d ${hours % 24}\u00a0h` : `${hours / 24}\u00a0d`;
}

// 23:40, or with the day where it is another one
function clock(seconds) {
  if (!Number.isFinite(seconds)) return MISSING;
  const date = new Date(seconds * 1000);
  const time = date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });
  if (date.toDateString() === new Date().toDateString()) return time;
  return `${date.toLocaleDateString([], { day: "numeric", month: "short" })} ${time}`;
}

function bytes(value) {
  if (value === null || value === undefined) return MISSING;
  const names = ["B", "kB", "MB", "GB", "TB"];
  let size = value, step = 0;
  while (size >= 1000 && step < names.length - 1) { size /= 1000; step += 1; }
  return `${size < 10 && step ? size.toFixed(1) : Math.round(size)} ${names[step]}`;
}

// About `wanted` round values between `low` and `high`.
function ticks(low, high, wanted) {
  const rough = (high - low) / Math.max(wanted, 1);
  if (!(rough > 0) || !Number.isFinite(rough)) return [low];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= rough * 0.7);
  const found = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9 && found.length < 50; n += 1) found.push(n * step);
  return found;
}

// Powers of ten, with 2 and 5 between them where there are few.
function logTicks(low, high, wanted) {
  const first = Math.floor(Math.log10(low)), last = Math.ceil(Math.log10(high));
  const every = Math.max(Math.ceil((last - first) / wanted), 1);
  const parts = last - first <= 2 ? [1, 2, 5] : [1];
  const found = [];
  for (let n = first; n <= last; n += every) found.push(...parts.map((part) => part * 10 ** n));
  const inside = found.filter((value) => value >= low * 0.999 && value <= high * 1.001);
  return inside.length > 1 ? inside : ticks(low, high, wanted).filter((value) => value > 0);
}

// Round times: seconds, minutes, hours, days.
function timeTicks(low, high, wanted) {
  const rough = (high - low) / Math.max(wanted, 1);
  const steps = [1, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 21600, 43200, 86400];
  const step = steps.find((each) => each >= rough) || ticks(0, rough * 2, 2).at(-1);
  const found = [];
  for (let n = Math.ceil(low / step); n * step <= high && found.length < 50; n += 1) found.push(n * step);
  return found;
}

const words = (name) => name.replaceAll("_", " ");
