// What makes the page quick; without it every form and link still works.
//
//   key -> the button that carries it -> form sent, answer put in place of <main>, outcome said in #said
"use strict";

const page = document.documentElement;
page.classList.add("scripted");

// --- one page into the next ---

let busy = false;

function parse(text) {
  return new DOMParser().parseFromString(text, "text/html");
}

function put(fresh, address) {
  const main = fresh.querySelector("main");
  if (!main || !fresh.querySelector("#said")) { location.assign(address); return false; }  // logged out
  document.querySelector("main").replaceWith(document.adoptNode(main));
  document.title = fresh.title;
  settle();
  return fresh.querySelector("#said").textContent;
}

async function send(form, submitter) {
  if (busy) return;
  busy = true;
  const fields = new URLSearchParams(new FormData(form));
  if (submitter && submitter.name) fields.set(submitter.name, submitter.value);
  try {
    const answer = await fetch(form.action, {method: "POST", body: fields});
    const said = put(parse(await answer.text()), answer.url);
    if (said === false) return;
    history.replaceState(null, "", answer.url);
    tell(said);
    document.getElementById("title")?.focus({preventScroll: true});
  } catch {
    tell("The gateway does not answer. Nothing was written; try again.");
  } finally {
    busy = false;
  }
}

function tell(text) {
  const said = document.getElementById("said");
  said.textContent = "";  // the same words twice are said twice
  requestAnimationFrame(() => { said.textContent = text; });
}

document.addEventListener("submit", (event) => {
  if (!event.target.matches("form[data-swap]")) return;
  event.preventDefault();
  send(event.target, event.submitter);
});

document.addEventListener("change", (event) => {
  if (event.target.closest("form[data-choose]")) event.target.form.requestSubmit();
  if (event.target.id === "marks") remember("marks", event.target.checked);
  if (event.target.id === "keys-on") remember("keys", event.target.checked);
  if (event.target.id === "refresh-on") remember("refresh", event.target.checked);
});

// --- keys ---

function typing(target) {
  return target.matches("input:not([type=checkbox]), select, textarea") || target.isContentEditable;
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || typing(event.target)) return;
  if (document.querySelector("dialog[open]") || !remembered("keys")) return;
  if (event.key === "?") { event.preventDefault(); help(); return; }
  const key = event.key.toLowerCase();
  if (!/^[a-z0-9]$/.test(key)) return;
  const control = document.querySelector(`main [data-key="${key}"]`);
  if (!control) return;
  event.preventDefault();
  control.click();
  if (key === "n") document.querySelector("details[open] [data-new-class]")?.focus();
});

function help() { document.getElementById("help")?.showModal(); }

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-help]")) { event.preventDefault(); help(); }
  const picture = event.target.closest("[data-picture]");
  if (picture) zoom(picture, picture.classList.contains("closer") ? null : at(picture, event));
  if (event.target.closest("[data-zoom]")) {
    const shown = document.querySelector("[data-picture]");
    zoom(shown, shown.classList.contains("closer") ? null : mark(shown));
  }
});

// --- looking closer ---

function at(picture, event) {
  const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(picture.getScreenCTM().inverse());
  const side = Math.min(picture.dataset.width, picture.dataset.height) / 3;
  return {x: point.x - side / 2, y: point.y - side / 2, width: side, height: side};
}

function mark(picture) {
  const box = picture.querySelector("[data-mark]");
  const read = (name) => Number(box.getAttribute(name));
  const margin = Math.max(read("width"), read("height"), 32) / 2;
  return {x: read("x") - margin, y: read("y") - margin, width: read("width") + 2 * margin, height: read("height") + 2 * margin};
}

function zoom(picture, to) {
  const whole = {x: 0, y: 0, width: picture.dataset.width, height: picture.dataset.height};
  const view = to || whole;
  picture.setAttribute("viewBox", `${view.x} ${view.y} ${view.width} ${view.height}`);
  picture.classList.toggle("closer", Boolean(to));
  document.querySelector("[data-zoom]")?.setAttribute("aria-pressed", String(Boolean(to)));
}

// --- what this device remembers: marks shown, keys on, refresh on; all are true until switched off ---

function remembered(name) {
  try { return localStorage.getItem(name) !== "off"; } catch { return true; }
}

function remember(name, on) {
  try { localStorage.setItem(name, on ? "on" : "off"); } catch { /* a private window remembers nothing */ }
}

// --- a page that has just come ---

function settle() {
  for (const [id, name] of [["marks", "marks"], ["keys-on", "keys"], ["refresh-on", "refresh"]]) {
    const box = document.getElementById(id);
    if (box) box.checked = remembered(name);
  }
  for (const time of document.querySelectorAll("time")) {
    const moment = new Date(time.dateTime);
    if (isNaN(moment)) continue;
    time.title = time.textContent;
    time.textContent = moment.toLocaleString(undefined, {dateStyle: "medium", timeStyle: "short"});
  }
  for (const picture of document.querySelectorAll("[data-picture] image")) {
    picture.addEventListener("error", () => {
      const note = picture.closest(".stage").querySelector(".broken");
      picture.closest("svg").setAttribute("hidden", "");
      if (note) note.hidden = false;
    });
  }
}

// Whoever is at something within the list keeps it: nothing is taken from under a hand.
function mayRefresh(watched) {
  return watched && remembered("refresh") && !document.hidden && !busy && !watched.contains(document.activeElement);
}

async function refresh() {
  const watched = document.querySelector("main [data-refresh]");
  if (mayRefresh(watched)) {
    try {
      const answer = await fetch(watched.dataset.refresh);
      const fresh = parse(await answer.text());
      await Promise.allSettled([...fresh.images].map(loaded));  // so that no picture flickers
      const focused = document.activeElement?.id;
      if (mayRefresh(watched)) put(fresh, answer.url);
      if (focused) document.getElementById(focused)?.focus({preventScroll: true});
    } catch { /* the next one may come */ }
  }
  setTimeout(refresh, 2000);
}

function loaded(image) {
  const ahead = new Image();
  ahead.src = image.getAttribute("src");
  return ahead.decode();
}

settle();
setTimeout(refresh, 2000);
