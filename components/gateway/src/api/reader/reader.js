// Shows the shop's OpenAPI document, and lets one try it. Whatever the document or an answer says is inserted as text.
"use strict";

const METHODS = ["get", "post", "put", "patch", "delete"];
// Deeper than any schema of ours; a guard against one that contains itself.
const MAX_DEPTH = 8;

let api;

/** An element with properties and children; strings become text. */
function el(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "class") element.className = value;
    else if (key.includes("-") || key === "role") element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children.flat().filter((child) => child !== undefined && child !== null && child !== ""));
  return element;
}

/** What a JSON reference within the document points at. */
function resolved(value) {
  let found = value;
  for (let step = 0; found && found.$ref && step < MAX_DEPTH; step += 1) {
    const parts = found.$ref.replace(/^#\//, "").split("/");
    found = parts.reduce((place, part) => place?.[part.replace(/~1/g, "/").replace(/~0/g, "~")], api);
  }
  return found ?? {};
}

function nameOf(value) {
  return value?.$ref?.split("/").pop();
}

/** Paragraphs, with what stands between backticks as code: all the Markdown that our descriptions have. */
function prose(text) {
  return (text ?? "").split(/\n{2,}/).filter(Boolean).map((paragraph) => {
    const parts = paragraph.split("`").map((part, index) => (index % 2 ? el("code", {}, part) : part));
    return el("p", {}, parts);
  });
}

function shown(value) {
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}

/** A schema in a few words: "string (date-time), up to 100 characters". */
function kind(given) {
  const schema = resolved(given);
  const choices = schema.oneOf ?? schema.anyOf;
  if (choices) return choices.map(kind).join(" or ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  let words = [schema.type ?? (schema.allOf ? "object" : "anything")].flat().join(" or ");
  if (schema.type === "array") words = `array of ${nameOf(schema.items) ?? kind(schema.items ?? {})}`;
  if (schema.format) words += ` (${schema.format})`;
  const bounds = [
    ["minimum", "from"], ["maximum", "to"], ["minLength", "at least", "characters"], ["maxLength", "up to", "characters"],
    ["minItems", "at least", "items"], ["maxItems", "up to", "items"],
  ];
  for (const [key, before, after] of bounds) {
    if (schema[key] !== undefined) words += `, ${before} ${schema[key].toLocaleString("en")}${after ? ` ${after}` : ""}`;
  }
  if (schema.default !== undefined) words += `, ${JSON.stringify(schema.default)} if left out`;
  return words;
}

/** What a value must be, member by member. */
function schemaView(given, depth = 0) {
  const schema = resolved(given);
  if (depth > MAX_DEPTH) return [];
  const view = [...prose(schema.description)];
  if (schema.enum) view.push(el("p", {}, "One of ", schema.enum.flatMap((value) => [el("code", {}, String(value)), " "])));
  if (schema.pattern) view.push(el("p", { class: "kind" }, "Pattern ", el("code", {}, schema.pattern)));
  for (const part of schema.allOf ?? []) view.push(...schemaView(part, depth + 1));
  const choices = (schema.oneOf ?? schema.anyOf ?? []).filter((choice) => choice.type !== "null");
  choices.forEach((choice, index) => {
    if (index > 0) view.push(el("p", { class: "quiet" }, "or"));
    view.push(...schemaView(choice, depth + 1));
  });
  if (schema.items) view.push(...schemaView(schema.items, depth + 1));
  const members = Object.entries(schema.properties ?? {});
  if (members.length > 0) {
    const required = new Set(schema.required ?? []);
    const first = members.filter(([name]) => required.has(name));
    const rest = members.filter(([name]) => !required.has(name));
    view.push(el("ul", { class: "members" }, [...first, ...rest].map(([name, member]) => {
      const head = [
        el("span", { class: "name" }, name), " ",
        el("span", { class: "kind" }, kind(member)), " ",
        required.has(name) ? el("span", { class: "must" }, "required") : "",
      ];
      const inside = schemaView(member, depth + 1);
      return el("li", {}, inside.length === 0 ? head : el("details", {}, el("summary", {}, head), inside));
    })));
  }
  if (schema.additionalProperties === false) view.push(el("p", { class: "quiet" }, "Any other member is refused."));
  return view;
}

function examplesOf(media) {
  if (media.example !== undefined) return [["", media.example]];
  return Object.entries(media.examples ?? {}).map(([name, example]) => [name, resolved(example).value]);
}

function contentView(content) {
  return Object.entries(content ?? {}).flatMap(([type, media]) => [
    el("p", { class: "kind" }, el("code", {}, type), " ", nameOf(media.schema) ?? ""),
    ...schemaView(media.schema ?? {}),
    ...examplesOf(media).map(([name, example]) => el("details", {},
      el("summary", {}, name ? `Example: ${name}` : "Example"), el("pre", { tabIndex: 0 }, shown(example)))),
  ]);
}

function parametersView(parameters) {
  if (parameters.length === 0) return [];
  return [el("h3", {}, "Parameters"), el("ul", { class: "members" }, parameters.map((parameter) => el("li", {},
    el("span", { class: "name" }, parameter.name), " ",
    el("span", { class: "kind" }, `${parameter.in}, ${kind(parameter.schema)}`), " ",
    parameter.required ? el("span", { class: "must" }, "required") : "",
    prose(parameter.description),
    resolved(parameter.schema).enum ? schemaView(parameter.schema) : "")))];
}

function responsesView(responses) {
  return [el("h3", {}, "Answers"), ...Object.entries(responses).map(([status, given]) => {
    const response = resolved(given);
    const headers = Object.entries(response.headers ?? {}).map(([name, header]) => [name, resolved(header)]);
    return el("details", {},
      el("summary", {}, el("code", {}, status), " ", (response.description ?? "").split("\n")[0].replace(/`/g, "")),
      (response.description ?? "").includes("\n") ? prose(response.description) : "",
      headers.length > 0 ? el("ul", { class: "members" }, headers.map(([name, header]) => el("li", {},
        el("span", { class: "name" }, name), " ", el("span", { class: "kind" }, kind(header.schema ?? {})),
        prose(header.description)))) : "",
      contentView(response.content));
  })];
}

/** A form that sends the request to this very shop. */
function tryView(method, path, operation, parameters) {
  const fields = parameters.map((parameter) => {
    const choices = resolved(parameter.schema).enum;
    const input = choices
      ? el("select", {}, ["", ...choices].map((choice) => el("option", { value: choice }, choice || "(left out)")))
      : el("input", { type: "text", autocomplete: "off", spellcheck: false, required: parameter.required === true });
    return { parameter, input, label: el("label", {}, `${parameter.name} (${parameter.in})`, input) };
  });
  const media = resolved(operation.requestBody ?? {}).content?.["application/json"];
  const body = media && el("textarea", { spellcheck: false, value: shown(media.example ?? {}) });
  const send = el("button", { type: "submit" }, "Send");
  const answer = el("div", { class: "answer", role: "status" });
  const form = el("form", {}, fields.map((field) => field.label), body && el("label", {}, "Body (application/json)", body),
    el("div", {}, send), answer);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    send.disabled = true;
    answer.replaceChildren(await ask(method, path, fields, body));
    send.disabled = false;
  });
  return el("details", {}, el("summary", {}, "Try it"), form);
}

async function ask(method, path, fields, body) {
  const query = new URLSearchParams();
  const headers = new Headers();
  let url = path;
  for (const { parameter, input } of fields) {
    if (parameter.in === "path") url = url.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
    else if (input.value === "") continue;
    else if (parameter.in === "query") query.set(parameter.name, input.value);
    else headers.set(parameter.name, input.value);
  }
  if (query.size > 0) url += `?${query}`;
  const token = document.getElementById("token").value.trim();
  if (token) headers.set("authorization", `Bearer ${token}`);
  if (body) headers.set("content-type", "application/json");
  try {
    const begun = performance.now();
    const response = await fetch(url, { method: method.toUpperCase(), headers, body: body?.value, credentials: "omit" });
    const text = await response.text();
    const took = Math.round(performance.now() - begun);
    const lines = [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
    return el("div", {}, el("p", {}, el("strong", {}, `${response.status} ${response.statusText}`), ` after ${took} ms`),
      el("details", {}, el("summary", {}, "Headers"), el("pre", { tabIndex: 0 }, lines)),
      text ? el("pre", { tabIndex: 0 }, pretty(text)) : "");
  } catch (error) {
    return el("p", {}, `The request was not sent: ${error.message}`);
  }
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function operationView({ method, path, operation, shared }) {
  const parameters = [...shared, ...(operation.parameters ?? [])].map(resolved);
  const body = resolved(operation.requestBody ?? {});
  const open = (operation.security ?? []).length === 0;
  const inside = el("div", { class: "inside" });
  const details = el("details", {},
    el("summary", {}, el("span", { class: `method ${method}` }, method), el("span", { class: "path" }, path),
      el("span", {}, operation.summary ?? ""), el("span", { class: "who" }, open ? "public" : "needs a token")), inside);
  // Most are never opened: what is inside is made when somebody looks.
  details.addEventListener("toggle", () => {
    if (details.open && inside.childElementCount === 0) {
      inside.append(...prose(operation.description), ...parametersView(parameters),
        ...(body.content ? [el("h3", {}, body.required ? "Body" : "Body, which may be left out"), ...contentView(body.content)] : []),
        ...responsesView(operation.responses), tryView(method, path, operation, parameters));
    }
  });
  return el("article", { id: operation.operationId }, details);
}

function operationsOf(description) {
  return Object.entries(description.paths).flatMap(([path, item]) => METHODS
    .filter((method) => item[method])
    .map((method) => ({ method, path, operation: item[method], shared: item.parameters ?? [] })));
}

function show() {
  document.title = `${api.info.title}: the API`;
  document.getElementById("title").textContent = api.info.title;
  document.getElementById("version").textContent = `OpenAPI ${api.openapi}, version ${api.info.version}`;
  document.getElementById("about").replaceChildren(...prose(api.info.description));
  const main = document.getElementById("operations");
  const contents = document.getElementById("contents");
  const all = operationsOf(api);
  const entries = [];
  main.replaceChildren();
  for (const tag of api.tags) {
    const own = all.filter(({ operation }) => operation.tags?.includes(tag.name));
    const links = own.map(({ method, path, operation }) => el("li", {},
      el("a", { href: `#${operation.operationId}` }, el("span", { class: `method ${method}` }, method), " ", path.replace(/^\/api/, ""))));
    const views = own.map(operationView);
    const navigation = el("div", {}, el("h2", {}, tag.name), el("ul", {}, links));
    const section = el("section", { "aria-labelledby": `tag-${tag.name}` },
      el("h2", { id: `tag-${tag.name}` }, tag.name), prose(tag.description), views);
    contents.append(navigation);
    main.append(section);
    entries.push({ navigation, section, items: own.map((entry, index) => ({
      text: `${entry.method} ${entry.path} ${entry.operation.summary} ${entry.operation.description ?? ""}`.toLowerCase(),
      link: links[index], view: views[index],
    })) });
  }
  document.getElementById("filter").addEventListener("input", (event) => narrow(entries, event.target.value));
  window.addEventListener("hashchange", openNamed);
  openNamed();
}

/** Shows only what has all the words. */
function narrow(entries, text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  for (const { navigation, section, items } of entries) {
    for (const item of items) {
      const hidden = !words.every((word) => item.text.includes(word));
      item.link.hidden = hidden;
      item.view.hidden = hidden;
    }
    const none = items.every((item) => item.view.hidden);
    navigation.hidden = none;
    section.hidden = none;
  }
}

function openNamed() {
  const details = document.getElementById(decodeURIComponent(location.hash.slice(1)))?.querySelector("details");
  if (details) {
    details.open = true;
    details.scrollIntoView();
    details.querySelector("summary").focus({ preventScroll: true });
  }
}

async function start() {
  try {
    const response = await fetch("/api/openapi.json", { credentials: "omit" });
    if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
    api = await response.json();
    show();
  } catch (error) {
    document.getElementById("status").textContent = `The description cannot be read: ${error.message}`;
  }
}

start();
