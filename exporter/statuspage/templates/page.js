// Updates the open page in place, and filters while the reader types. The page works without this script.
(() => {
  "use strict";
  const main = document.getElementById("main");
  const filter = document.getElementById("q");
  const pause = document.getElementById("pause");
  const problem = document.getElementById("problem");
  const period = Number(main.dataset.period) * 1000;
  let paused = false;
  let refreshing = false;
  let refreshAgain = false; // true after a call during a refresh, because that refresh may use an older filter

  const isKept = (node) => node === filter; // the reader may be typing in the filter field

  // Makes `from` equal to `to` and changes only the nodes that differ, so that focus, selection and scroll position stay.
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

  // Runs `change`, then scrolls so that the visible row stays in its place, even if rows above it were added or removed.
  function keepPosition(change) {
    const focused = document.activeElement ?? document.body;
    const isVisible = (row) => {
      const { top, bottom } = row.getBoundingClientRect();
      return bottom > 0 && top < innerHeight;
    };
    const rows = "tbody[id], tr[id]";
    const anchor = [focused.closest(rows), ...main.querySelectorAll(rows)].find((row) => row && isVisible(row));
    const top = anchor && scrollY > 0 ? anchor.getBoundingClientRect().top : null;
    change();
    if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
    if (top !== null && anchor.isConnected) {
      scrollBy({ top: anchor.getBoundingClientRect().top - top, behavior: "instant" });
    }
  }

  async function refresh() {
    refreshAgain = true;
    if (refreshing) return;
    refreshing = true;
    while (refreshAgain) {
      refreshAgain = false;
      try {
        const response = await fetch(location.href, { cache: "no-store", headers: { Accept: "text/html" } });
        const page = new DOMParser().parseFromString(await response.text(), "text/html");
        // A 404 that is a page says that the transform is gone. Every other error is one line of text.
        if (!page.getElementById("main")) throw new Error(`${response.status} ${response.statusText}`);
        keepPosition(() => {
          document.title = page.title;
          for (const id of ["main", "fresh"]) merge(document.getElementById(id), page.getElementById(id));
          document.querySelector("link[rel=icon]").href = page.querySelector("link[rel=icon]").href;
        });
        problem.textContent = "";
      } catch (error) {
        problem.textContent = `Update failed: ${error.message}`;
      }
    }
    refreshing = false;
  }

  const isSelectingText = () => getSelection().type === "Range";
  const refreshIfWatched = () => { if (!paused && !document.hidden && !isSelectingText()) refresh(); };
  setInterval(refreshIfWatched, period);
  document.addEventListener("visibilitychange", refreshIfWatched);

  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    refreshIfWatched();
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
