// The demo as people see it, wide and light, narrow and dark: `.ci/demo.sh screenshots` has it make pictures in a folder.
import { join } from "node:path";
import { chromium } from "playwright-core";

const folder = process.argv[2] ?? ".";
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium" });
const page = await browser.newPage();
const day = (days) => new Date(Date.now() + days * 86_400_000).toISOString().slice(0, 10);

// The first one is the oldest.
const TASKS = [
  { title: "Read the threat model", completed: true },
  { title: "Order the cake", description: "Lemon, for twelve", completed: true, priority: "low" },
  { title: "Book the train to Vienna", due_date: day(9), priority: "medium" },
  { title: "Write the release notes", description: "What changed for whom, one sentence each", due_date: day(1), priority: "high" },
  { title: "Call Ada about the proof", due_date: day(-1), priority: "urgent" },
  { title: "Water the plants", due_date: day(0) },
];

await page.goto("http://localhost:8000/");
await page.getByRole("button", { name: "Create an account" }).click();
await page.getByLabel("Name").fill("Grace");
await page.getByLabel("E-mail").fill(`grace-${Date.now()}@example.com`);
await page.getByLabel("Password").fill("correct horse battery");
await page.getByRole("button", { name: "Create account" }).click();
await page.getByRole("heading", { name: /Grace’s tasks/ }).waitFor();
for (const task of TASKS) {
  const added = await page.request.post("http://localhost:8000/api/tasks", { data: task, headers: { origin: "http://localhost:8000" } });
  if (!added.ok()) throw new Error(await added.text());
}

const shoot = async (name, origin, scheme, width, height) => {
  await page.emulateMedia({ colorScheme: scheme });
  await page.setViewportSize({ width, height });
  await page.goto(origin);
  await page.getByLabel(`Done: ${TASKS.at(-1).title}`).waitFor();
  await page.screenshot({ path: join(folder, name) });
};
await shoot("demo-wide.png", "http://localhost:3000/", "light", 960, 770);
await shoot("demo-narrow.png", "http://localhost:8000/", "dark", 390, 760);
await browser.close();
