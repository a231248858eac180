// Reads `.env` files as Next.js does: a list of cases comes on standard input, what was read goes to standard output.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const library = require.resolve("@next/env");
const cases = JSON.parse(fs.readFileSync(0, "utf8"));
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "usher-next-env-"));

const answers = cases.map((one) => {
  fs.writeFileSync(path.join(folder, ".env"), Buffer.from(one.file, "base64"));
  for (const name of Object.keys(process.env)) delete process.env[name];
  Object.assign(process.env, one.process);
  // It remembers what the process had when it was loaded.
  delete require.cache[library];
  const errors = [];
  const log = { info() {}, error: (...said) => errors.push(said.map(String).join(" ")) };
  const { parsedEnv } = require(library).loadEnvConfig(folder, true, log, true);
  return { variables: parsedEnv ?? {}, error: errors.join("; ") };
});

fs.rmSync(folder, { recursive: true });
process.stdout.write(JSON.stringify(answers));
