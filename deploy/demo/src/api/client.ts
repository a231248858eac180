// The tasks API, typed: copy this folder into a frontend. `schema.d.ts` is made from the gateway's document (dev/schema).
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

export type Task = components["schemas"]["Task"];
export type NewTask = components["schemas"]["NewTask"];
export type TaskChanges = components["schemas"]["TaskChanges"];
export type Priority = components["schemas"]["Priority"];
export type Problem = components["schemas"]["Problem"];

/** How a request is sent, where that is to be more than `fetch` does. */
export type Send = (request: Request) => Promise<Response>;

/** The API at `baseUrl`: by the token that `token` gives, or by the cookie of whoever is signed in. */
export function tasksApi(baseUrl: string, token?: () => string | Promise<string>, send: Send = fetch) {
  const api = createClient<paths>({ baseUrl, credentials: token ? "omit" : "include", fetch: send });
  if (token) {
    api.use({
      async onRequest({ request }) {
        request.headers.set("Authorization", `Bearer ${await token()}`);
        return request;
      },
    });
  }
  return api;
}

/** Where the next page of a list begins; nothing where this one was the last. */
export function nextCursor(response: Response): string | undefined {
  const next = response.headers.get("Link")?.match(/<([^>]*)>; *rel="next"/)?.[1];
  return next === undefined ? undefined : new URL(next, response.url).searchParams.get("cursor") ?? undefined;
}
