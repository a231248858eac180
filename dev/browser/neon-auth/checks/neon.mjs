// What the checks of Neon Auth share: its cookies, and what Neon and those behind the gateway have said.
import assert from "node:assert/strict";
import { check, log, warnings } from "../../chromium.mjs";

/** The session's cookie, and the SDK's own beside it. */
export const SESSION = "__Secure-neon-auth.session_token";
export const CACHE = "__Secure-neon-auth.local.session_data";
export const cookie = async ({ context }, name) => (await context.cookies()).find((cookie) => cookie.name === name);

/** What Neon was asked; and how often by auth-verifier, whose a session is. */
export const asked = () => log("neon").split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
export const lookUps = () => asked().filter(({ path, agent }) => path.endsWith("/get-session") && agent.startsWith("usher/")).length;

/** Nobody behind the gateway has complained. */
export const quiet = (name) => check("the gateway and its services warn of nothing", () => assert.deepEqual(warnings(name), []));
