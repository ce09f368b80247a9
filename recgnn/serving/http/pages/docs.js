"use strict";
// The paths of openapi.json, each with its fields and a question to send.
function add(parent, name, text = "", kind = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (kind) made.className = kind;
  parent.append(made);
  return made;
}

function schemaOf(spec, operation) {
  const reference = operation.requestBody?.content["application/json"].schema.$ref;
  return reference && spec.components.schemas[reference.split("/").pop()];
}

function describe(box, schema) {
  const list = add(box, "ul");
  for (const [name, field] of Object.entries(schema.properties)) {
    const needed = schema.required?.includes(name) ? "" : ` = ${JSON.stringify(field.default ?? null)}`;
    const choices = (field.anyOf ?? [field]).flatMap((kind) => kind.enum ?? kind.const ?? []).join(", ");
    add(list, "li", `${name}${needed}: ${field.description ?? ""}${choices ? ` (${choices})` : ""}`);
  }
}

function question(schema) {
  const fields = Object.entries(schema.properties).filter(([name, field]) => field.examples || name === "k");
  return JSON.stringify(Object.fromEntries(fields.map(([name, field]) => [name, field.examples?.[0] ?? field.default])));
}

function show(spec, path, method, operation) {
  const box = add(document.getElementById("paths"), "details");
  add(box, "summary", `${method.toUpperCase()} ${path}: ${operation.summary}`);
  const schema = schemaOf(spec, operation);
  if (schema) describe(box, schema);
  const text = schema && add(box, "textarea");
  if (text) text.value = question(schema);
  const send = add(box, "button", "Send");
  const answer = add(box, "pre");
  send.addEventListener("click", async () => {
    const headers = { "Content-Type": "application/json" };
    const response = await fetch(path, { method: method.toUpperCase(), headers, body: text?.value });
    answer.textContent = `${response.status}\n${JSON.stringify(await response.json(), null, 1)}`;
  });
}

fetch("/openapi.json").then((response) => response.json()).then((spec) => {
  for (const [path, operations] of Object.entries(spec.paths)) {
    for (const [method, operation] of Object.entries(operations)) show(spec, path, method, operation);
  }
});
