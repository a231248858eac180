// The tasks API, typed: copy this file and generated/api.d.ts into a frontend.
import createClient from "openapi-fetch";
import type { components, paths } from "./generated/api.js";

export type Task = components["schemas"]["Task"];
export type NewTask = components["schemas"]["NewTask"];
export type TaskChanges = components["schemas"]["TaskChanges"];
export type Problem = components["schemas"]["Problem"];

/** The API at `baseUrl`: by the token that `token` gives, or by the cookie of whoever is signed in. */
export function tasksApi(baseUrl: string, token?: () => string | Promise<string>) {
  const api = createClient<paths>({ baseUrl, credentials: token ? "omit" : "include" });
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
