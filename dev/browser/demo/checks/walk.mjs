// What must hold at both addresses.
import assert from "node:assert/strict";
import { check, endGateway, eventually } from "../../chromium.mjs";
import { Person, barriers } from "./people.mjs";

const day = (days) => new Date(Date.now() + days * 86_400_000).toISOString().slice(0, 10);

/** Walks through the page that `origin` serves; the person who has done so. */
export async function walk(origin) {
  const ada = await Person.at(origin, { timezoneId: "UTC" });
  const { page } = ada;

  check("who can't be let in is told why", async () => {
    await ada.signIn("nobody@example.com", "a wrong password");
    await ada.alert("Invalid email or password");
    assert.deepEqual(await barriers(ada), []);
  });

  check("somebody signs up", async () => {
    await ada.signUp("Ada");
    await ada.status("Welcome, Ada.");
    await page.getByText("Nothing to do.").waitFor();
  });

  check("tasks are added, with a due date and a priority", async () => {
    await ada.add("Write a letter");
    await ada.add("Post it", { due: day(1), priority: "High" });
    assert.deepEqual(await ada.titles(), ["Post it", "Write a letter"]);
    await ada.row("Post it").getByText("Tomorrow").waitFor();
    await ada.row("Post it").getByText("High").waitFor();
    // The form is empty again, and ready for the next one.
    assert.equal(await ada.field("New task").inputValue(), "");
    assert.ok(await ada.field("New task").evaluate((field) => field === document.activeElement));
  });

  check("what the service refuses, it says why, beside the field", async () => {
    await ada.field("New task").fill("x".repeat(201));
    await ada.button("Add").click();
    const refused = page.getByRole("form", { name: "Add a task" }).locator(".problem");
    assert.match(await refused.textContent(), /200/);
    assert.equal(await ada.field("New task").getAttribute("aria-invalid"), "true");
    assert.equal(await ada.field("New task").getAttribute("aria-describedby"), await refused.getAttribute("id"));
    await page.getByRole("alert").filter({ hasText: /\S/ }).waitFor();
    await ada.field("New task").fill("");
    await ada.button("Dismiss").click();
  });

  check("a task is ticked, and found by status and by search", async () => {
    await ada.field("Done: Post it").click();
    await ada.status("“Post it” is done.");
    await page.getByText("Open", { exact: true }).click();
    await eventually("the open ones", async () => (await ada.titles()).join() === "Write a letter");
    await page.getByText("All", { exact: true }).click();
    await ada.field("Search").fill("POST");
    await eventually("what was searched", async () => (await ada.titles()).join() === "Post it");
    await ada.field("Search").fill("nothing like it");
    await page.getByText("No task fits.").waitFor();
    await ada.field("Search").fill("");
    await eventually("all of them", async () => (await ada.titles()).length === 2);
  });

  check("a write whose answer is lost is sent again, and done once", async () => {
    const isWrite = ({ method }) => ["POST", "PATCH"].includes(method);
    let lost = 0;
    const lose = async (route) => {
      if (lost > 0 || !isWrite({ method: route.request().method() })) return route.fallback();
      lost += 1;
      await route.fetch();
      return route.abort("connectionreset");
    };
    const keys = () => ada.sent.filter((one) => isWrite(one) && one.url.includes("/tasks")).map((one) => one.headers["idempotency-key"]);
    await page.route("**/tasks**", lose);
    await ada.add("Only once");
    assert.match(keys().at(-1), /^[0-9a-f-]{36}$/);
    assert.equal(keys().at(-1), keys().at(-2));
    assert.equal((await ada.kept()).filter(({ title }) => title === "Only once").length, 1);
    // Under If-Match, a repeat without a key would hear that the task has changed: by itself.
    lost = 0;
    await ada.edit("Only once", { Title: "Changed once" });
    await ada.button("Save").click();
    await ada.status("“Changed once” is saved.");
    assert.equal(keys().at(-1), keys().at(-2));
    await page.unroute("**/tasks**", lose);
  });

  check("a service that says when to come again is asked again then, and the person is told", async () => {
    let isBusy = true;
    await page.route("**/tasks/*/complete", (route) => {
      if (!isBusy || route.request().method() === "OPTIONS") return route.fallback();
      const origin = route.request().headers().origin;
      const headers = { "retry-after": "5", "access-control-allow-origin": origin, "access-control-expose-headers": "retry-after", "access-control-allow-credentials": "true" };
      return route.fulfill({ status: 503, headers, contentType: "application/problem+json", body: `{"status":503,"detail":"away"}` });
    });
    await ada.field("Done: Changed once").click();
    await ada.status("The service is busy. Trying again in 5 s…");
    isBusy = false;
    await ada.status("“Changed once” is done.");
    await page.unroute("**/tasks/*/complete");
  });

  check("a task is edited, and only what was changed is sent", async () => {
    // What is refused in a dialog is said in it: all else is inert.
    await ada.edit("Write a letter", { Title: "x".repeat(201) });
    await ada.button("Save").click();
    const dialog = page.getByRole("dialog");
    await dialog.getByRole("alert").filter({ hasText: "200" }).waitFor();
    assert.match(await dialog.locator(".problem").textContent(), /200/);
    await dialog.getByLabel("Title").fill("Write a letter");
    await dialog.getByLabel("Description").fill("To Charles\nabout the engine");
    assert.deepEqual(await barriers(ada), []);
    await ada.button("Save").click();
    await ada.status("“Write a letter” is saved.");
    await ada.row("Write a letter").getByText("about the engine").waitFor();
    const { requestId, headers } = ada.sent.findLast(({ method }) => method === "PATCH");
    assert.deepEqual(JSON.parse(await ada.bodyOf(requestId)), { description: "To Charles\nabout the engine" });
    assert.match(headers["if-match"], /^"/);
  });

  check("two tabs that edit one task: the second one sees both versions, and chooses", async () => {
    const other = await ada.tab();
    await other.row("Write a letter").waitFor();
    for (const [title, theirs, mine] of [["Write a letter", "Write two letters", "Write three"], ["Write three", "Write four", "Write five"]]) {
      if (title === "Write three") {
        // Its own list is of before.
        await other.page.reload();
        await other.row(title).waitFor();
      }
      await ada.edit(title, { Title: mine });
      await other.edit(title, { Title: theirs });
      await other.button("Save").click();
      await other.status(`“${theirs}” is saved.`);
      await ada.button("Save").click();
      await page.getByRole("heading", { name: "This task has been changed" }).waitFor();
      const cells = await page.getByRole("dialog").locator("tbody tr").allInnerTexts();
      assert.deepEqual(cells.map((cell) => cell.split(/\s*\t\s*/)), [["Title", mine, theirs]]);
      assert.deepEqual(await barriers(ada), []);
      if (title === "Write a letter") {
        await ada.button("Save mine").click();
        await ada.status(`“${mine}” is saved.`);
      } else {
        await ada.button("Take the saved one").click();
        await ada.status(`“${theirs}” stays as it was saved.`);
      }
    }
    const titles = (await ada.kept()).map(({ title }) => title);
    assert.ok(titles.includes("Write four") && !titles.some((title) => /letter|three|five/.test(title)), titles.join());
    await ada.row("Write four").waitFor();
    await other.page.close();
  });

  check("what was deleted comes back by Undo, as it was", async () => {
    const about = ({ title, description, completed, priority, due_date, tags }) => ({ title, description, completed, priority, due_date, tags });
    const before = (await ada.kept()).find(({ title }) => title === "Post it");
    await ada.button("Delete: Post it").click();
    await ada.status("“Post it” is deleted.");
    await ada.row("Post it").waitFor({ state: "detached" });
    assert.ok(!(await ada.kept()).some(({ title }) => title === "Post it"));
    await ada.button("Undo").click();
    await ada.row("Post it").waitFor();
    const after = (await ada.kept()).find(({ title }) => title === "Post it");
    assert.deepEqual(about(after), about(before));
  });

  check("a long list comes by pages, and none is shown twice", async () => {
    for (let n = 1; n <= 40; n += 1) {
      assert.equal((await ada.ask("/api/tasks", { method: "POST", data: { title: `Number ${n}` } })).status(), 201);
    }
    await page.reload();
    await eventually("a page", async () => (await ada.titles()).length === 20);
    await ada.button("Load more (20 of 43)").click();
    await eventually("two pages", async () => (await ada.titles()).length === 40);
    await eventually("the focus moves on to them", () =>
      page.evaluate(() => document.activeElement === document.querySelectorAll(".tasks li input")[20]),
    );
    await ada.button("Load more (40 of 43)").click();
    await eventually("all", async () => (await ada.titles()).length === 43);
    assert.equal(new Set(await ada.titles()).size, 43);
    assert.equal(await page.getByRole("button", { name: /Load more/ }).count(), 0);
  });

  check("the gateway may be replaced: what is done meanwhile is done once it is back", async () => {
    const gone = endGateway();
    await ada.add("While it was away");
    await gone;
    await ada.add("When it was back");
    const titles = (await ada.kept()).map(({ title }) => title);
    assert.deepEqual(titles.filter((title) => title.includes(" it was ")), ["When it was back", "While it was away"]);
  });

  check("a second person sees nothing of the first", async () => {
    const bob = await (await Person.at(origin)).signUp("Bob");
    await bob.page.getByText("Nothing to do.").waitFor();
    await bob.add("Bob’s own");
    assert.deepEqual(await bob.titles(), ["Bob’s own"]);
    assert.ok(!(await ada.kept()).some(({ title }) => title === "Bob’s own"));
    await bob.context.close();
  });

  check("all of it goes by keyboard alone", async () => {
    const kay = await Person.at(origin);
    const { keyboard } = kay.page;
    const type = async (field, text) => {
      await kay.tabTo(field);
      await keyboard.type(text);
    };
    const press = async (button, key = "Enter") => {
      await kay.tabTo(button);
      await keyboard.press(key);
    };
    await kay.button("Create an account").waitFor();
    await press(kay.button("Create an account"));
    // Backwards, too, people find what has come.
    await kay.field("Name").focus();
    await keyboard.type("Kay");
    await type(kay.field("E-mail"), `kay-${crypto.randomUUID()}@example.com`);
    await type(kay.field("Password"), "correct horse battery");
    await keyboard.press("Enter");
    await kay.page.getByText("Nothing to do.").waitFor();
    await type(kay.field("New task"), "By keyboard");
    await keyboard.press("Enter");
    await kay.row("By keyboard").waitFor();
    await press(kay.field("Done: By keyboard"), "Space");
    await kay.status("“By keyboard” is done.");
    const edit = kay.button("Edit: By keyboard");
    await press(edit);
    await kay.page.getByRole("dialog").waitFor();
    await keyboard.press("Escape");
    await kay.page.getByRole("dialog").waitFor({ state: "detached" });
    await eventually("the focus is back", () => edit.evaluate((button) => button === document.activeElement));
    await keyboard.press("Enter");
    await kay.page.getByRole("dialog").waitFor();
    await kay.tabTo(kay.page.getByRole("dialog").getByLabel("Title"));
    await keyboard.press("Control+A");
    await keyboard.type("Without a mouse");
    await keyboard.press("Enter");
    await kay.status("“Without a mouse” is saved.");
    await press(kay.button("Delete: Without a mouse"));
    await kay.status("“Without a mouse” is deleted.");
    await press(kay.button("Undo"));
    await kay.row("Without a mouse").waitFor();
    await press(kay.button("Sign out"));
    await kay.status("You have signed out.");
    await kay.context.close();
  });

  check("on a narrow screen nothing is cut off, and in the dark all can be read", async () => {
    const nan = await Person.at(origin, { viewport: { width: 320, height: 640 }, colorScheme: "dark" });
    const fits = async () => {
      const width = await nan.page.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(width <= 320, `it is ${width} wide`);
      for (const button of await nan.page.getByRole("button").all()) {
        const { x, width } = await button.boundingBox();
        assert.ok(x >= 0 && x + width <= 320, await button.textContent());
      }
    };
    await nan.button("Sign in").waitFor();
    await fits();
    await nan.signUp("Nanette Wilhelmina von und zu Hohenstein");
    await nan.add(`Unbreakable${"e".repeat(120)}`);
    await nan.add("Late", { due: day(-3), priority: "Urgent" });
    await fits();
    assert.deepEqual(await barriers(nan), []);
    await nan.edit("Late", { Description: "On a small screen" });
    const { x, width } = await nan.page.getByRole("dialog").boundingBox();
    assert.ok(x >= 0 && x + width <= 320);
    await nan.button("Save").click();
    await nan.status("“Late” is saved.");
    await nan.context.close();
  });

  check("in the light all can be read, too", async () => {
    await page.emulateMedia({ colorScheme: "light" });
    assert.deepEqual(await barriers(ada), []);
  });

  return ada;
}

/** Their session has ended elsewhere: `noticed` waits until nobody takes it any more. */
export function ends(ada, noticed) {
  check("who has to sign in again goes on where they were", async () => {
    const { page } = ada;
    await ada.field("New task").fill("Typed before");
    await ada.endSessions();
    await noticed();
    await ada.button("Add").click();
    await ada.alert("Your session has ended.");
    await page.getByRole("heading", { name: "Sign in" }).waitFor();
    // What is theirs is out of sight meanwhile.
    assert.ok(!(await page.locator(".tasks").isVisible()));
    assert.equal(await ada.field("E-mail").inputValue(), ada.email);
    await ada.signIn();
    await page.getByRole("heading", { name: "Ada’s tasks" }).waitFor();
    assert.equal(await ada.field("New task").inputValue(), "Typed before");
    await ada.button("Add").click();
    await ada.row("Typed before").waitFor();
    assert.equal((await ada.kept()).filter(({ title }) => title === "Typed before").length, 1);
  });
}

/** In another tab of the same browser, somebody else signs in: `noticed` waits until that is all that the first tab could find. */
export function changes(ada, noticed) {
  check("a tab never acts for whoever has signed in in another one", async () => {
    const other = await ada.tab();
    await other.button("Sign out").click();
    await other.status("You have signed out.");
    await other.signUp("Eve");
    await noticed();
    await ada.field("New task").fill("Ada’s alone");
    await ada.button("Add").click();
    await ada.alert("Your session has ended.");
    assert.deepEqual(await other.kept(), []);
    await other.button("Sign out").click();
    await other.status("You have signed out.");
    await other.page.close();
  });
}
