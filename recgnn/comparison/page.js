"use strict";
// Sorting: a click on a head sorts its table's rows by the cells' data-value, a second one the other way.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.parentElement, body = head.closest("table").tBodies[0];
    const up = head.getAttribute("aria-sort") === "descending";
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = (row) => row.cells[head.cellIndex].dataset.value;
    const compare = (a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
      return up ? order : -order;
    };
    body.append(...[...body.rows].sort(compare));
  });
}
// A row under the pointer, in table, legend or figure, stands out everywhere in its section.
for (const section of document.querySelectorAll("section")) {
  section.addEventListener("pointerover", (event) => {
    const row = event.target.closest("[data-row]")?.dataset.row;
    section.classList.toggle("chosen", row !== undefined);
    for (const part of section.querySelectorAll("[data-row]")) part.classList.toggle("on", part.dataset.row === row);
  });
}
