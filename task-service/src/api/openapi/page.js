"use strict";
// Whatever comes from the document or from an answer is put into the page as text, never as markup.
const element = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};
// Markdown's backticks, as the document has them.
const prose = (text) => text.split("`").map((part, at) => at % 2 ? element("code", {}, part) : part);
const token = document.getElementById("token");
const byToken = () => new FormData(document.getElementById("credential")).get("by") === "bearer";
token.addEventListener("input", () => { document.querySelector("[value=bearer]").checked = true; });
document.getElementById("credential").addEventListener("submit", (event) => event.preventDefault());

const describe = (api) => {
  const resolve = (what) => what?.$ref ? resolve(what.$ref.slice(2).split("/").reduce((at, key) => at[key], api)) : what;
  // What a schema allows, in short.
  const hint = (schema) => {
    schema = resolve(schema);
    if (schema.oneOf) return schema.oneOf.map(hint).join(" or ");
    const kind = [schema.format ?? schema.type].flat().join(" or ");
    const bounds = [["minimum", "from"], ["maximum", "to"], ["maxLength", "at most"], ["maxItems", "at most"]]
      .filter(([name]) => name in schema).map(([name, word]) => `${word} ${schema[name]}`);
    return [kind, ...bounds].join(" ");
  };
  // A body to begin with: the members that are required, or else the first.
  const sample = (schema) => {
    const { properties, required = ["completed" in schema.properties && !("title" in schema.properties) ? "completed" : "title"] } = schema;
    const value = (property) => resolve(property).type?.includes?.("boolean") ? true : "Buy milk";
    return JSON.stringify(Object.fromEntries(required.map((name) => [name, value(properties[name])])), null, 2);
  };
  const field = (parameter) => {
    const schema = resolve(parameter.schema);
    const words = schema.enum ?? (schema.type === "boolean" ? ["true", "false"] : null);
    const input = words
      ? element("select", {}, element("option", { value: "" }, ""), ...words.map((word) => element("option", {}, word)))
      : element("input", { placeholder: schema.default ?? "", spellcheck: false });
    input.name = `${parameter.in} ${parameter.name}`;
    input.required = parameter.required === true;
    input.setAttribute("aria-label", parameter.name);
    return [
      element("code", {}, parameter.name), input,
      element("span", { className: "note" }, ...prose(parameter.description ?? ""), words ? "" : ` (${hint(schema)})`),
    ];
  };
  const send = async (path, method, form, output) => {
    const query = new URLSearchParams(), headers = new Headers();
    let target = path;
    for (const [name, value] of new FormData(form)) {
      const [place, key] = name.split(" ");
      if (value === "" || place === "body") continue;
      if (place === "path") target = target.replace(`{${key}}`, encodeURIComponent(value));
      if (place === "query") query.append(key, value);
      if (place === "header") headers.set(key, value);
    }
    const body = form.elements.body?.value || undefined;
    if (body) headers.set("Content-Type", "application/json");
    if (byToken()) headers.set("Authorization", `Bearer ${token.value.trim()}`);
    if (`${query}`) target += `?${query}`;
    output.replaceChildren(element("p", {}, "…"));
    try {
      const answer = await fetch(target, {
        method, headers, body, cache: "no-store", credentials: byToken() ? "omit" : "same-origin",
      });
      const text = await answer.text();
      let shown = text;
      try { shown = JSON.stringify(JSON.parse(text), null, 2); } catch { /* It is no JSON: shown as it came. */ }
      const lines = [...answer.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
      output.replaceChildren(
        element("p", {}, element("code", {}, `${method} ${target}`), ` → ${answer.status} ${answer.statusText}`),
        element("pre", {}, lines), element("pre", {}, shown),
      );
    } catch (error) {
      output.replaceChildren(element("p", {}, `No answer: ${error.message}`));
    }
  };
  const show = (path, method, operation) => {
    const body = resolve(resolve(operation.requestBody)?.content["application/json"].schema);
    const output = element("section", { ariaLive: "polite" });
    const form = element("form", {},
      element("div", { className: "fields" },
        ...(operation.parameters ?? []).map(resolve).filter((parameter) => !parameter.deprecated).flatMap(field)));
    if (body) {
      form.append(
        element("p", { className: "note" }, Object.entries(body.properties).map(([name, schema]) => `${name}: ${hint(schema)}`).join(" · ")),
        element("textarea", { name: "body", value: sample(body), spellcheck: false, ariaLabel: "Body" }));
    }
    form.append(element("button", {}, "Send"), " ",
      element("span", { className: "note" }, `Answers: ${Object.keys(operation.responses).join(", ")}`));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      send(path, method, form, output);
    });
    return element("details", { className: operation.deprecated ? "deprecated" : "" },
      element("summary", {}, element("span", { className: `method ${method}` }, method),
        element("span", { className: "path" }, path), " ", element("span", { className: "note" }, operation.summary ?? "")),
      form, output);
  };
  document.getElementById("title").textContent = `${api.info.title} ${api.info.version}`;
  const groups = api.tags.map(({ name, description }) => [
    element("h2", {}, description ?? name),
    ...Object.entries(api.paths).flatMap(([path, item]) => Object.entries(item)
      .filter(([method, operation]) => method !== "head" && operation.tags?.includes(name))
      .map(([method, operation]) => show(path, method.toUpperCase(), operation))),
  ]);
  document.getElementById("operations").replaceChildren(
    ...api.info.description.split("\n\n").map((text) => element("p", {}, ...prose(text))), ...groups.flat());
};

fetch("/api/openapi.json")
  .then((answer) => answer.ok ? answer.json() : Promise.reject(new Error(`status ${answer.status}`)))
  .then(describe)
  .catch((error) => document.getElementById("operations").replaceChildren(`The document can't be read: ${error.message}`));
