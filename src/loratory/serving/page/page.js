// Makes the page nicer; all that it does also goes without it, by plain forms and by reloading.
"use strict";
(() => {
  const EVERY = 2000; // milliseconds
  const find = (id) => document.getElementById(id);
  for (const one of document.querySelectorAll(".scripted")) one.hidden = false;

  // -- a part of the page in the place of another; the server escaped what is in it
  const put = (target, text) => target.replaceChildren(document.createRange().createContextualFragment(text));

  const refusal = (message) => {
    const made = document.createElement("div");
    made.className = "refused";
    made.setAttribute("role", "alert");
    const said = made.appendChild(document.createElement("p")).appendChild(document.createElement("strong"));
    said.textContent = message;
    return made;
  };

  const told = async (response) => {
    if (response.status === 401) return "The session has ended: reload the page to sign in again.";
    try { return `${(await response.json()).error.message} (HTTP ${response.status})`; }
    catch { return `The server answered HTTP ${response.status}.`; }
  };

  // -- forms
  const target = { answer: find("answer"), table: find("filled") };
  for (const form of document.querySelectorAll("form[data-part]")) {
    const place = target[form.dataset.part];
    let last = null;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (last) last.abort();
      const mine = last = new AbortController();
      place.setAttribute("aria-busy", "true");
      try {
        const response = await fetch(form.action, {
          method: "POST", headers: { "x-part": "1" }, body: new URLSearchParams(new FormData(form)), signal: mine.signal,
        });
        const page = (response.headers.get("content-type") || "").startsWith("text/html");
        if (page) put(place, await response.text());
        else place.replaceChildren(refusal(await told(response)));
      } catch (problem) {
        if (problem.name !== "AbortError") place.replaceChildren(refusal("The server cannot be reached."));
      } finally {
        if (mine === last) { place.removeAttribute("aria-busy"); last = null; }
      }
    });
    form.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
    });
  }

  // -- what a task takes
  const task = find("try-task");
  const fit = () => {
    for (const name of ["system", "turns"]) {
      const part = document.querySelector(`.${name}`);
      if (part) part.hidden = !task.selectedOptions[0].hasAttribute(`data-${name}`);
    }
    for (const one of document.querySelectorAll(".examples")) one.hidden = one.dataset.task !== task.value;
  };
  if (task) { task.addEventListener("change", fit); fit(); }

  // -- an example fills the box; without a script its address does
  const text = find("try-text");
  for (const one of document.querySelectorAll("a.example")) {
    one.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return; // a new tab or window
      event.preventDefault();
      text.value = one.dataset.text;
      text.focus();
    });
  }

  // -- what was said before, turn by turn; sent as JSON in the area that is typed into without a script
  const plain = find("try-turns"), turns = find("turns");
  const parsed = (text) => { try { return JSON.parse(text || "[]"); } catch { return null; } };
  const typed = plain && parsed(plain.value);
  if (Array.isArray(typed)) {
    const made = (name, more) => Object.assign(document.createElement(name), more);
    const gather = () => {
      const all = [];
      [...turns.children].forEach((row, place) => {
        const [who, said, remove] = row.children;
        who.setAttribute("aria-label", `Turn ${place + 1}: who speaks`);
        said.setAttribute("aria-label", `Turn ${place + 1}: what was said`);
        remove.setAttribute("aria-label", `Remove turn ${place + 1}`);
        if (said.value.trim()) all.push({ role: who.value, content: said.value });
      });
      plain.value = all.length ? JSON.stringify(all) : "";
    };
    const add = (role, content) => {
      const row = made("li", { className: "turn" }), who = made("select"), said = made("textarea", { rows: 1, spellcheck: false });
      const remove = made("button", { type: "button", className: "plain", textContent: "Remove" });
      who.append(new Option("user"), new Option("assistant"));
      row.append(who, said, remove);
      who.value = role;
      said.value = content;
      remove.addEventListener("click", () => {
        const next = row.nextElementSibling || row.previousElementSibling;
        row.remove();
        gather();
        (next ? next.children[1] : find("add-turn")).focus();
      });
      turns.append(row);
      gather();
      return said;
    };
    for (const one of typed) add(one.role, one.content);
    turns.addEventListener("input", gather);
    find("add-turn").addEventListener("click", () => {
      const last = turns.lastElementChild;
      add(last && last.firstElementChild.value === "user" ? "assistant" : "user", "").focus();
    });
    document.querySelector(".typed").hidden = true;
    document.querySelector(".added").hidden = false;
  }

  // -- a file into the text area, its header into the list of columns
  const file = find("table-file"), table = find("table-text"), columns = find("table-columns");
  const read = (bytes) => {
    try { return new TextDecoder("utf-8", { fatal: true }).decode(bytes); }
    catch { return new TextDecoder("windows-1252").decode(bytes); } // as spreadsheets write it
  };
  const head = () => {
    const line = table.value.slice(0, 20000).split(/\r?\n/, 1)[0];
    const mark = [",", ";", "\t", "|"].reduce((a, b) => (line.split(b).length > line.split(a).length ? b : a));
    const names = line.split(mark).slice(0, 100).map((name) => name.trim().replace(/^"(.*)"$/, "$1"));
    columns.replaceChildren(...names.filter(Boolean).map((name) => new Option(name, name)));
  };
  if (file) {
    file.addEventListener("change", async () => {
      const [chosen] = file.files;
      if (!chosen) return;
      if (chosen.size > Number(file.dataset.most)) {
        target.table.replaceChildren(refusal(`The file has ${Math.ceil(chosen.size / 1024).toLocaleString("en")} kB; `
          + `allowed: ${Math.floor(file.dataset.most / 1024).toLocaleString("en")} kB at a time.`));
        return;
      }
      table.value = read(await chosen.arrayBuffer());
      head();
    });
    table.addEventListener("change", head);
    head();
  }

  // -- traffic, while somebody looks
  const now = find("now"), pause = find("pause");
  let clock = null;
  const refresh = async () => {
    if (now.contains(document.activeElement) || String(getSelection()) && now.contains(getSelection().anchorNode)) return;
    try {
      const response = await fetch("/page/traffic");
      if (response.ok) put(now, await response.text());
      now.classList.toggle("stale", !response.ok);
    } catch { now.classList.add("stale"); }
  };
  const go = () => {
    clearInterval(clock);
    clock = null;
    if (document.hidden || pause.getAttribute("aria-pressed") === "true") return;
    clock = setInterval(refresh, EVERY);
  };
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); go(); });
  pause.addEventListener("click", () => {
    const paused = pause.getAttribute("aria-pressed") !== "true";
    pause.setAttribute("aria-pressed", String(paused));
    go();
  });
  go();
})();
