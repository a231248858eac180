// What the checks of one origin share: where people come in, a page of another origin, and a gateway that is back.
import { createServer } from "node:http";
import { GATEWAY, eventually, signIn as signInAt, signUp as signUpAt, visitor } from "../../chromium.mjs";

export const origin = GATEWAY;
export const signUp = (somebody, name) => signUpAt(somebody, `${origin}/sign-in`, name);
export const signIn = (somebody, email) => signInAt(somebody, `${origin}/sign-in`, email);

/** A page of another origin, with somebody's cookies: `localhost` is one site whatever the port, so SameSite=Lax lets them go along. */
export async function atForeignPage({ context }) {
  const server = createServer((_request, response) => response.setHeader("content-type", "text/html").end("<p>evil"));
  await new Promise((done) => server.listen(3002, "127.0.0.1", done));
  const foreign = await visitor({ storageState: await context.storageState() });
  await foreign.page.goto("http://localhost:3002/");
  server.close();
  return foreign;
}

export const healthy = () =>
  eventually("the gateway is back", () => fetch(`${origin}/health`).then((answer) => answer.ok, () => false));
