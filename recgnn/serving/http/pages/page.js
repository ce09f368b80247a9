"use strict";
// Everything from the server is put in as text, never as markup.
const at = (id) => document.getElementById(id);

function element(name, text = "", kind = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

async function ask(path, question) {
  const options = question && {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(question),
  };
  const response = await fetch(path, options);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

const named = (row, id) => row.title ?? String(row[id]);

function entry(row) {
  const made = element("li", named(row, "item"));
  if (row.title) made.append(" ", element("span", String(row.item), "id"));
  return made;
}

function because(parts) {
  const made = element("div", "", "why");
  const weight = (part) => part.above ?? part.share ?? 0;
  const most = Math.max(...parts.map((part) => Math.abs(weight(part))), 1e-12);
  for (const part of parts) {
    const bar = element("meter");
    bar.max = most;
    bar.value = Math.max(0, weight(part));
    const both = part.kind === "item" ? ` (${part.both} users have both)` : "";
    made.append(element("span", named(part, "of") + both), bar, element("span", weight(part).toFixed(4), "number"));
  }
  return made;
}

async function explain(user, rows, entries) {
  try {
    const found = await ask("/explain", { user, items: rows.map((row) => row.item), parts: 4 });
    at("how").textContent = found.how;
    found.items.forEach((item, place) => entries[place].append(because(item.parts)));
  } catch (error) {
    at("how").textContent = error.message;
  }
}

async function show(user, k) {
  at("told").textContent = "…";
  document.querySelector("main").hidden = true;
  try {
    const [list] = (await ask("/recommend", { users: [user], k })).lists;
    const entries = list.items.map((row) => {
      const made = entry(row);
      made.prepend(element("span", row.score?.toPrecision(4), "score"));
      return made;
    });
    at("how").textContent = "";
    at("recommended").replaceChildren(...entries);
    at("history").replaceChildren();
    at("count").textContent = "";
    at("told").textContent = list.source === "popularity" ? `${user} is not a user of the run: these are the most popular items.` : "";
    document.querySelector("main").hidden = false;
    if (list.source === "popularity") return;
    const { items } = await ask("/history", { user });
    at("count").textContent = `${items.length} items`;
    at("history").replaceChildren(...items.slice(0, 500).map(entry));
    if (list.items.length) await explain(user, list.items, entries);
  } catch (error) {
    at("told").textContent = error.message;
  }
}

function asked(user) {
  at("user").value = user;
  history.replaceState(null, "", `#${encodeURIComponent(user)}`);
  return show(String(user), Number(at("k").value));
}

at("question").addEventListener("submit", (event) => {
  event.preventDefault();
  asked(at("user").value.trim());
});

ask("/health").then((about) => {
  at("run").textContent = about.run;
  for (const user of about.some_users ?? []) {
    const button = element("button", String(user));
    button.type = "button";
    button.addEventListener("click", () => asked(user));
    at("examples").append(button);
  }
  if (location.hash.length > 1) asked(decodeURIComponent(location.hash.slice(1)));
}).catch((error) => { at("told").textContent = error.message; });
