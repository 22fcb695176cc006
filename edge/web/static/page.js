// Brings what is shown up to date, while somebody looks; and says so when the cabinet is gone. The page needs none of it.
"use strict";
(() => {
  const live = document.getElementById("live");
  const lost = document.querySelector(".lost");
  const message = document.querySelector(".message");
  let tag = "";

  // What was said once is not said again by a page that is brought up to date, or loaded anew.
  const asked = new URLSearchParams(location.search);
  for (const told of ["problem", "retry_s"]) asked.delete(told);
  const here = location.pathname + (String(asked) && `?${asked}`);
  history.replaceState(null, "", here + location.hash);

  async function refresh() {
    const headers = { Accept: "text/html" };
    if (tag) headers["If-None-Match"] = tag;
    const answer = await fetch(here, { headers, cache: "no-store", signal: AbortSignal.timeout(8000) });
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
    remember();
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    if (at) live.querySelector(`[href="${CSS.escape(at)}"]`)?.focus({ preventScroll: true });
    document.title = fresh.title;
  }

  // Whoever gave a wrong code need not write their name again with their gloves on.
  function remember() {
    const name = live.querySelector(".login input[name=name]");
    if (!name) return;
    name.defaultValue = sessionStorage.getItem("name") || "";
    name.form.addEventListener("submit", () => sessionStorage.setItem("name", name.value));
  }

  const over = () => [...live.querySelectorAll("[data-left]")].some((shown) => shown.dataset.left === "0");
  const pause = () => 1000 * Math.min(over() ? 1 : 5, Number(live.dataset.every) || 5);

  async function go() {
    if (!document.hidden && live.dataset.every !== "0") {
      try {
        await refresh();
      } catch {
        lost.hidden = false;
      }
    }
    setTimeout(go, pause());
  }

  // By the clock and not by turns: a phone that was asleep has missed some.
  function count() {
    for (const shown of document.querySelectorAll("[data-left]")) {
      shown.dataset.ends ||= Date.now() + 1000 * Number(shown.dataset.left);
      const left = Math.max(0, Math.round((Number(shown.dataset.ends) - Date.now()) / 1000));
      shown.dataset.left = left;
      shown.textContent = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
    }
    if (message?.querySelector("[data-left='0']")) message.hidden = true;
  }

  requestAnimationFrame(() => setTimeout(() => document.documentElement.classList.add("drawn")));
  remember();
  count();
  setInterval(count, 1000);
  document.addEventListener("visibilitychange", () => { if (!document.hidden && live.dataset.every !== "0") refresh().catch(() => { lost.hidden = false; }); });
  setTimeout(go, pause());
})();
