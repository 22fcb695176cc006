// Brings what is shown up to date, while somebody looks; and says so when the cabinet is gone. The page needs none of it.
"use strict";
(() => {
  const live = document.getElementById("live");
  const lost = document.querySelector(".lost");
  let tag = "";

  async function refresh() {
    const headers = { Accept: "text/html" };
    if (tag) headers["If-None-Match"] = tag;
    const answer = await fetch(location.pathname + location.search, { headers, cache: "no-store", signal: AbortSignal.timeout(8000) });
    lost.hidden = true;
    if (answer.status === 304) return;
    if (!answer.ok) return;
    tag = answer.headers.get("ETag") || "";
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const now = fresh.getElementById("live");
    if (!now || [...live.querySelectorAll("input:not([type=hidden])")].some((i) => i === document.activeElement || i.value !== i.defaultValue)) return;
    const open = [...live.querySelectorAll("details[open]")].map((d) => d.id);
    const at = live.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    live.replaceChildren(...now.childNodes);
    live.dataset.every = now.dataset.every;
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    if (at) live.querySelector(`[href="${CSS.escape(at)}"]`)?.focus({ preventScroll: true });
    document.title = fresh.title;
  }

  async function go() {
    if (!document.hidden && live.dataset.every !== "0") {
      try {
        await refresh();
      } catch {
        lost.hidden = false;
      }
    }
    setTimeout(go, 1000 * Math.min(5, Number(live.dataset.every) || 5));
  }

  setInterval(() => {
    for (const shown of document.querySelectorAll("[data-left]")) {
      const left = Math.max(0, Number(shown.dataset.left) - 1);
      shown.dataset.left = left;
      shown.textContent = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
    }
  }, 1000);
  document.addEventListener("visibilitychange", () => { if (!document.hidden && live.dataset.every !== "0") refresh().catch(() => { lost.hidden = false; }); });
  setTimeout(go, 1000 * Math.min(5, Number(live.dataset.every) || 5));
})();
