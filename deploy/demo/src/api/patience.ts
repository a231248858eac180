// Sends a request until it is answered: again where a write can't be done twice (each has its Idempotency-Key) and the service
// says when to come again, or can't be reached. How often, and how long altogether, is bounded.
import type { Send } from "./client.js";

/** How often a request is sent, and how long it waits between two, in seconds. */
const TRIES_MAX = 8;
const FIRST_WAIT = 0.5;
const WAIT_MAX = 8;

/** Answers that say "not now": still at it, too many, not reachable from there. */
const NOT_NOW = [409, 429, 502, 503, 504];

/** The service could not be reached. */
export class Unreachable extends Error {
  constructor() {
    super("The service can't be reached. Nothing you typed is lost: try again in a moment.");
  }
}

export type Patience = {
  /** A new token, if the one that was sent is no good any more. */
  renewed?: () => Promise<string>;
  /** The person is to be told why it takes so long; nothing: it goes on. */
  waits: (why: string | undefined) => void;
  send?: Send;
};

export function patient({ renewed, waits, send = fetch }: Patience): Send {
  return async (request) => {
    let isRenewed = false;
    let told = false;
    // What was said before it stays where nothing had to be said.
    const wait = async (seconds: number, why: string) => {
      told = true;
      waits(why);
      await new Promise((done) => setTimeout(done, seconds * 1000));
    };
    try {
      for (let tries = 1; ; tries += 1) {
        const backoff = Math.min(FIRST_WAIT * 2 ** (tries - 1), WAIT_MAX);
        let response: Response;
        try {
          response = await send(request.clone());
        } catch (error) {
          if (request.signal.aborted) throw error;
          if (tries === TRIES_MAX) throw new Unreachable();
          await wait(backoff, "The service can’t be reached. Trying again…");
          continue;
        }
        if (response.status === 401 && renewed && !isRenewed) {
          isRenewed = true;
          request.headers.set("Authorization", `Bearer ${await renewed()}`);
          continue;
        }
        const seconds = Number(response.headers.get("Retry-After") ?? backoff);
        // A conflict without a time to wait is one that waiting doesn't mend.
        const isLasting = response.status === 409 && !response.headers.has("Retry-After");
        const isNow = !NOT_NOW.includes(response.status) || isLasting;
        if (isNow || tries === TRIES_MAX || !(seconds <= WAIT_MAX)) return response;
        await wait(seconds, `The service is busy. Trying again in ${Math.ceil(seconds)} s…`);
      }
    } finally {
      if (told) waits(undefined);
    }
  };
}
