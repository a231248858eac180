// Who is signed in: Better Auth's client, and the token for the gateway, which is kept in memory alone.
import { jwtClient } from "better-auth/client/plugins";
import { createAuthClient } from "better-auth/client";

const client = createAuthClient({ plugins: [jwtClient()] });

export type User = { id: string; name: string; email: string };

/** The session is over: whoever it was has to sign in again. */
export class SignedOut extends Error {
  constructor() {
    super("Your session has ended. Sign in again to go on.");
  }
}

type Failure = { status: number; message?: string | undefined; statusText: string };

/** What Better Auth says is wrong, and when it says to come again. */
function explained({ status, message, statusText }: Failure, seconds: string | null): Error {
  const said = message ?? (statusText || "The sign-in service can’t be reached. Try again in a moment.");
  if (status === 429 && seconds) return new Error(`That was too often. Try again in ${seconds} seconds.`);
  return new Error(said);
}

/** Whom this tab shows. In another one, somebody else may sign in meanwhile, and the browser has one session. */
let shown: User | undefined;

/** Whom this tab acts for, and nobody else. */
export function me(): string {
  if (!shown) throw new SignedOut();
  return shown.id;
}

/** Who is signed in; nobody, if nobody is, or if it is another one than this tab shows. */
export async function whoami(): Promise<User | undefined> {
  const { data, error } = await client.getSession();
  if (error) throw explained(error, null);
  if (shown && data?.user.id !== shown.id) return undefined;
  return (shown = data?.user);
}

export type Credentials = { email: string; password: string; name?: string | undefined };

/** Signs in, or signs up where there is a name. */
export async function enter({ email, password, name }: Credentials): Promise<User> {
  let seconds: string | null = null;
  const options = {
    onError: ({ response }: { response: Response }) => void (seconds = response.headers.get("X-Retry-After")),
  };
  const { data, error } =
    name === undefined
      ? await client.signIn.email({ email, password }, options)
      : await client.signUp.email({ email, password, name }, options);
  if (error) throw explained(error, seconds);
  kept = undefined;
  return (shown = data.user);
}

/** Signs out. */
export async function leave(): Promise<void> {
  const { error } = await client.signOut();
  // A session that has ended anyway was what was asked for.
  if (error && error.status !== 401) throw explained(error, null);
  kept = shown = undefined;
}

/** How long before its end a token is renewed, in milliseconds: longer than a request takes. */
const MARGIN = 60_000;

let kept: { token: string; until: number } | undefined;
let asked: Promise<string> | undefined;

/** A token for the gateway: the one that is kept, or a new one shortly before that ends. Those who ask together share one. */
export function token(): Promise<string> {
  if (kept && Date.now() < kept.until) return Promise.resolve(kept.token);
  asked ??= fetchToken().finally(() => (asked = undefined));
  return asked;
}

/** Another token than the one that is kept, which was refused. */
export function renewed(): Promise<string> {
  kept = undefined;
  return token();
}

async function fetchToken(): Promise<string> {
  const { data, error } = await client.token();
  if (error?.status === 401) throw new SignedOut();
  if (error) throw explained(error, null);
  const { sub, iat, exp } = claimsOf(data.token);
  if (sub !== me()) throw new SignedOut();
  // How long it lives, rather than when it ends: the clock of this machine may be wrong.
  kept = { token: data.token, until: Date.now() + (exp - iat) * 1000 - MARGIN };
  return data.token;
}

/** Whom a token is for, since when and until when. It is read, and not believed: the gateway checks it. */
function claimsOf(token: string): { sub: string; iat: number; exp: number } {
  const payload = token.split(".")[1] ?? "";
  return JSON.parse(atob(payload.replaceAll("-", "+").replaceAll("_", "/")));
}
