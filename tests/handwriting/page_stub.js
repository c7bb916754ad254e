// What collect.html asks of a browser, for tests without one: elements that pass events on, canvases
// that remember lines, and requests that wait until a test answers them.
"use strict";

class Canvas {
  constructor(canvas) {
    this.canvas = canvas;
    this.lines = [];
  }
  clearRect() { this.lines = []; }
  beginPath() { this.path = []; }
  moveTo(x, y) { this.path = [[x, y]]; }
  lineTo(x, y) { this.path.push([x, y]); }
  stroke() { this.lines.push(this.path); }
  setLineDash() {}
  strokeRect() {}
  arc() {}
  fill() {}
}

class Element {
  constructor(tag) {
    Object.assign(this, { tagName: tag.toUpperCase(), children: [], dataset: {}, attributes: {} });
    Object.assign(this, { listeners: {}, textContent: "", className: "", disabled: false });
    if (tag === "canvas") Object.assign(this, { width: 100, height: 100, context: new Canvas(this) });
  }
  getContext() { return this.context; }
  append(child) { this.children.push(child); }
  setAttribute(name, value) { this.attributes[name] = String(value); }
  addEventListener(name, listener) { (this.listeners[name] ??= []).push(listener); }
  getBoundingClientRect() { return { left: 10, top: 20, width: 400, height: 200 }; }
  setPointerCapture() {}
  blur() {}
  fire(name, event) {
    if (!this.disabled) (this.listeners[name] ?? []).forEach((listener) => listener(event));
  }
}

const elements = {};  // by id
const document = new Element("body");
document.getElementById = (id) => elements[id] ?? null;
document.createElement = (tag) => new Element(tag);

const requests = [];
const fetch = (path, options = {}) => new Promise((resolve, reject) => {
  requests.push({ path, method: options.method ?? "GET", body: options.body ?? null,
                  headers: options.headers ?? {}, resolve, reject });
});

function answer(index, status, text) {
  const [{ resolve }] = requests.splice(index, 1);
  resolve({ ok: status < 400, json: async () => JSON.parse(text) });
}

function fail(index) {
  const [{ reject }] = requests.splice(index, 1);
  reject(new TypeError("Failed to fetch"));
}
