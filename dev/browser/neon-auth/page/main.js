// A page without a server of its own, as one made with Vite: sign-in and tasks are at its own origin, behind the gateway.
import { createAuthClient } from "@neondatabase/auth";

const authClient = createAuthClient(`${location.origin}/api/auth`);
const find = (selector) => document.querySelector(selector);

async function ask(path, init) {
  const response = await fetch(path, { headers: { "content-type": "application/json" }, ...init });
  if (!response.ok) throw new Error((await response.json()).detail);
  return response.json();
}

async function show() {
  const { data } = await authClient.getSession();
  find("#sign").hidden = Boolean(data?.user);
  find("#signed-in").hidden = !data?.user;
  if (!data?.user) return;
  find("h1").textContent = `${data.user.name}’s tasks`;
  const items = (await ask("/api/tasks")).map(({ title }) => {
    const item = document.createElement("li");
    item.append(Object.assign(document.createElement("span"), { textContent: title }));
    return item;
  });
  find("ul").replaceChildren(...items);
}

const attempt = (work) => async (event) => {
  event?.preventDefault();
  try {
    await work(event);
    await show();
    find("[role=alert]").textContent = "";
  } catch (error) {
    find("[role=alert]").textContent = error.message;
  }
};

find("#sign").addEventListener(
  "submit",
  attempt(async ({ target, submitter }) => {
    const { name, email, password } = Object.fromEntries(new FormData(target));
    const { error } =
      submitter.value === "up"
        ? await authClient.signUp.email({ name, email, password })
        : await authClient.signIn.email({ email, password });
    if (error) throw new Error(error.message);
  }),
);
find("#task").addEventListener(
  "submit",
  attempt(({ target }) => ask("/api/tasks", { method: "POST", body: JSON.stringify({ title: target.title.value }) })),
);
find("#leave").addEventListener("click", attempt(() => authClient.signOut()));
await attempt(async () => {})();
