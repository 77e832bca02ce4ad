"use strict";
// Everything on the page can be read without this: it finds operators, folds branches, and opens what a link leads to.
(() => {
  const byId = (id) => document.getElementById(id);
  const tools = byId("tools");
  const find = byId("find");
  const found = byId("found");

  const show = (target) => {
    if (!target) return;
    for (let up = target.parentElement; up; up = up.parentElement) {
      if (up.tagName === "DETAILS") up.open = true;
    }
    const own = target.querySelector(":scope > details");
    if (own) own.open = true;
    target.scrollIntoView({ block: "center" });
  };

  const follow = () => {
    const id = decodeURIComponent(location.hash.slice(1));
    if (id.startsWith("op-")) show(byId(id));
  };
  window.addEventListener("hashchange", follow);
  // A second click on a link does not change the address.
  document.addEventListener("click", (event) => {
    const link = event.target.closest && event.target.closest("a.oplink");
    if (link) show(byId(link.getAttribute("href").slice(1)));
  });
  follow();

  if (!tools) return;
  tools.hidden = false;
  const plan = document.querySelector(".plan");
  const operators = Array.from(plan.querySelectorAll(".op"));
  const texts = operators.map((one) => one.textContent.toLowerCase());
  const branches = Array.from(plan.querySelectorAll(".input"));
  const whole = found.textContent;

  byId("unfold").addEventListener("click", () => branches.forEach((one) => { one.open = true; }));
  byId("fold").addEventListener("click", () => branches.forEach((one) => {
    one.open = !one.classList.contains("cheap");
  }));

  const search = () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    operators.forEach((one, place) => {
      const hit = words.every((word) => texts[place].includes(word));
      one.classList.toggle("miss", !hit);
      count += hit ? 1 : 0;
    });
    // A branch without a hit goes away, one with a hit opens.
    branches.forEach((one) => {
      const hit = one.querySelector(".op:not(.miss)") !== null;
      one.classList.toggle("miss", !hit);
      if (words.length && hit) one.open = true;
    });
    plan.classList.toggle("searching", words.length > 0);
    found.textContent = words.length ? count + " of " + whole : whole;
  };
  find.addEventListener("input", search);
  find.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { find.value = ""; search(); }
  });
})();
