// The page is complete without this: it brings it up to date in place, and filters while one types.
(() => {
  "use strict";
  const main = document.getElementById("main");
  const filter = document.getElementById("q");
  const pause = document.getElementById("pause");
  const trouble = document.getElementById("trouble");
  const period = Number(main.dataset.period) * 1000;
  let paused = false;
  let running = false;
  let wanted = false;

  const isKept = (node) => node === filter;

  // Make `from` equal to `to`, touching only what differs: focus, selection and scroll positions stay where they are.
  function merge(from, to) {
    if (from.isEqualNode(to) || isKept(from)) return;
    if (from.nodeType !== to.nodeType || from.nodeName !== to.nodeName || from.id !== to.id) {
      from.replaceWith(document.importNode(to, true));
      return;
    }
    if (from.nodeType !== Node.ELEMENT_NODE) {
      from.nodeValue = to.nodeValue;
      return;
    }
    for (const { name } of [...from.attributes]) if (!to.hasAttribute(name)) from.removeAttribute(name);
    for (const { name, value } of to.attributes) if (from.getAttribute(name) !== value) from.setAttribute(name, value);
    mergeChildren(from, to);
  }

  function mergeChildren(from, to) {
    const named = new Map();
    for (const child of from.children) if (child.id) named.set(child.id, child);
    let next = from.firstChild;
    for (const child of [...to.childNodes]) {
      const known = child.id ? named.get(child.id) : undefined;
      if (known) {
        named.delete(child.id);
        if (known === next) next = next.nextSibling;
        else from.insertBefore(known, next);
        merge(known, child);
      } else if (next && !next.id && !child.id) {
        const present = next;
        next = next.nextSibling;
        merge(present, child);
      } else {
        from.insertBefore(document.importNode(child, true), next);
      }
    }
    while (next) {
      const rest = next.nextSibling;
      next.remove();
      next = rest;
    }
    for (const child of named.values()) child.remove();
  }

  // What the reader looks at stays where it is, whatever is put in above it.
  function inPlace(change) {
    const focused = document.activeElement ?? document.body;
    const isSeen = (row) => {
      const { top, bottom } = row.getBoundingClientRect();
      return bottom > 0 && top < innerHeight;
    };
    const seen = [focused.closest("tr[id]"), ...main.querySelectorAll("tr[id]")].find((row) => row && isSeen(row));
    const top = seen && scrollY > 0 ? seen.getBoundingClientRect().top : null;
    change();
    if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
    if (top !== null && seen.isConnected) {
      scrollBy({ top: seen.getBoundingClientRect().top - top, behavior: "instant" });
    }
  }

  async function refresh() {
    wanted = true;
    if (running) return;
    running = true;
    while (wanted) {
      wanted = false;
      try {
        const answer = await fetch(location.href, { cache: "no-store" });
        if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        inPlace(() => {
          document.title = page.title;
          for (const id of ["main", "fresh"]) merge(document.getElementById(id), page.getElementById(id));
          document.querySelector("link[rel=icon]").href = page.querySelector("link[rel=icon]").href;
        });
        trouble.textContent = "";
      } catch (error) {
        trouble.textContent = `Not brought up to date: ${error.message}`;
      }
    }
    running = false;
  }

  const isReading = () => getSelection().type === "Range";
  const tick = () => { if (!paused && !document.hidden && !isReading()) refresh(); };
  setInterval(tick, period);
  document.addEventListener("visibilitychange", tick);

  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    tick();
  });

  if (filter) {
    let timer;
    const search = () => {
      const parameters = new URLSearchParams(new FormData(filter.form));
      if (!filter.value.trim()) parameters.delete("q");
      const query = parameters.toString();
      history.replaceState(null, "", query ? `?${query}` : location.pathname);
      refresh();
    };
    filter.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(search, 200); });
    filter.form.addEventListener("submit", (event) => { event.preventDefault(); clearTimeout(timer); search(); });
  }
})();
