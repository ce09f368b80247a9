"use strict";
// Sorting: a click on a head sorts its table's rows by the cells' data-value, a second one the other way.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.parentElement, body = head.closest("table").tBodies[0];
    const column = head.cellIndex, up = head.getAttribute("aria-sort") === "descending";
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
    const compare = (a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
      return up ? order : -order;
    };
    body.append(...[...body.rows].sort(compare));
  });
}
// Choosing: a line under the pointer, in table, legend or figure, stands out everywhere in its section.
let chosen = null;
function choose(section, line) {
  if (chosen !== null && chosen.section === section && chosen.line === line) return;
  if (chosen !== null) {
    chosen.section.classList.remove("chosen");
    for (const part of chosen.section.querySelectorAll(".on")) part.classList.remove("on");
  }
  chosen = line === null ? null : { section, line };
  if (chosen === null) return;
  section.classList.add("chosen");
  for (const part of section.querySelectorAll(`[data-line="${line}"]`)) part.classList.add("on");
}
for (const part of document.querySelectorAll("tr[data-line], .legend [data-line]")) {
  part.addEventListener("mouseenter", () => choose(part.closest("section"), part.dataset.line));
  part.addEventListener("mouseleave", () => choose(part.closest("section"), null));
}
// Tooltips: the nearest point of a figure to the pointer.
const tip = document.querySelector(".tip");
function pointsOf(svg) {
  const points = [];
  for (const mark of svg.querySelectorAll("[data-tip]")) {
    const { x, y, tip: words, line } = mark.dataset;
    points.push({ x: Number(x), y: Number(y), words, line });
  }
  for (const curve of svg.querySelectorAll("[data-tips]")) {
    const words = curve.dataset.tips.split("|");
    curve.getAttribute("points").split(" ").forEach((pair, i) => {
      const [x, y] = pair.split(",").map(Number);
      points.push({ x, y, words: words[i], line: curve.dataset.line });
    });
  }
  return points;
}
for (const svg of document.querySelectorAll("figure svg")) {
  let points = null;
  const ring = document.createElementNS("http://www.w3.org/2000/svg", "circle");
  ring.setAttribute("class", "found");
  ring.setAttribute("r", "7");
  const section = svg.closest("section");
  svg.addEventListener("mousemove", (event) => {
    points ??= pointsOf(svg);
    const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    let best = null, least = 30 * 30;
    for (const point of points) {
      const distance = (point.x - place.x) ** 2 + (point.y - place.y) ** 2;
      if (distance < least) [best, least] = [point, distance];
    }
    tip.hidden = best === null;
    choose(section, best === null ? null : best.line);
    if (best === null) return ring.remove();
    ring.setAttribute("cx", best.x);
    ring.setAttribute("cy", best.y);
    svg.append(ring);
    tip.textContent = best.words;
    const beyond = event.clientX + 20 + tip.offsetWidth > innerWidth;
    tip.style.left = `${beyond ? event.clientX - tip.offsetWidth - 14 : event.clientX + 14}px`;
    tip.style.top = `${event.clientY + 14}px`;
  });
  svg.addEventListener("mouseleave", () => {
    ring.remove();
    tip.hidden = true;
    choose(section, null);
  });
}
