/**
 * One connection to the queue server, by Bun's own client. Every exchange has a deadline for all of it: looking up the
 * name, connecting, and every byte of the answer. A connection whose exchange failed is dropped: what it may still say
 * belongs to nobody.
 */

import { RedisClient } from "bun";
import { readFileSync } from "node:fs";

import { understood } from "./address.ts";
import { within } from "./deadline.ts";
import { reason } from "./values.ts";

/** Sends one command. Errors that the server answers are thrown. */
export type Send = (command: string, ...parameters: (string | number)[]) => Promise<unknown>;

/** Least time that the work gets once there is a connection, ms. */
const LEAST_MS = 10;
/**
 * How long connecting may take, ms. It goes on when an exchange no longer waits for it; and while OpenCode starts, its
 * thread may be busy for seconds.
 */
const CONNECT_MS = 5000;
const NOT_UNDERSTOOD =
  "the queue server's address can't be understood: write redis://:password@host:6379/0 (or rediss, unix), with special " +
  "characters of the password percent-encoded";
/** Bun says no more of a connection that isn't made than that it was closed. */
const NOT_CONNECTED = "the queue server can't be reached, or refuses user and password";
const NO_TLS =
  ", or its certificate: it must be for the name in the address, and of an authority that ssl_ca_certs names or the " +
  "system knows";

export class Connection {
  readonly url: string;
  #client: RedisClient | undefined;
  #connecting: Promise<RedisClient> | undefined;

  constructor(url: string) {
    this.url = url;
  }

  /** The connection that is being made; undefined where there is one, or none was wanted. */
  get connecting(): Promise<unknown> | undefined {
    return this.#connecting;
  }

  /**
   * Does some work with the server, as one exchange.
   *
   * @param again whether the work may be done once more where a connection that lay idle turns out to be gone: a
   *     restarted server has closed it
   * Throws what the work throws, `Late`, or why there is no connection.
   */
  async exchange<Value>(ms: number, work: (send: Send) => Promise<Value>, again = true): Promise<Value> {
    const end = performance.now() + ms;
    const idle = this.#client?.connected === true;
    const client = await within(ms, this.#connected());
    try {
      return await within(Math.max(LEAST_MS, end - performance.now()), work(sender(client)));
    } catch (error) {
      this.#drop(client);
      const left = end - performance.now();
      if (again && idle && left > 0 && lost(error)) return await this.exchange(left, work, false);
      throw error;
    }
  }

  /** Let go of the connection. The next exchange opens another. */
  close(): void {
    this.#connecting = undefined;
    if (this.#client) this.#drop(this.#client);
  }

  #drop(client: RedisClient): void {
    client.close();
    if (this.#client === client) this.#client = undefined;
  }

  #connected(): Promise<RedisClient> {
    if (this.#client?.connected) return Promise.resolve(this.#client);
    if (!this.#connecting) {
      const connecting = this.#connect().finally(() => {
        if (this.#connecting === connecting) this.#connecting = undefined;
      });
      this.#connecting = connecting;
    }
    return this.#connecting;
  }

  async #connect(): Promise<RedisClient> {
    this.close();
    const { url, database, tls } = placeOf(this.url);
    const client = new RedisClient(url, {
      // Ours comes first: it takes what lies ready after a busy time.
      connectionTimeout: 2 * CONNECT_MS,
      autoReconnect: false,
      enableOfflineQueue: false,
      ...(tls ? { tls } : {}),
    });
    this.#client = client;
    try {
      await within(CONNECT_MS, client.connect());
      if (database) await within(CONNECT_MS, client.send("SELECT", [String(database)]));
    } catch (error) {
      this.#drop(client);
      if (lost(error)) throw new Error(NOT_CONNECTED + (tls ? NO_TLS : ""), { cause: error });
      throw error;
    }
    return client;
  }
}

function sender(client: RedisClient): Send {
  return (command, ...parameters) => client.send(command, parameters.map(String)) as Promise<unknown>;
}

/** How Bun's client is told of a server. */
interface Place {
  url: string;
  /** Bun takes the database from no URL of a socket, and from none that has it as an option. */
  database: number;
  tls: Record<string, unknown> | boolean;
}

/** What a URL says; the names of its options are redis-py's. Throws if it can't be understood, or a file is missing. */
function placeOf(given: string): Place {
  const url = understood(given);
  if (!url) throw new Error(NOT_UNDERSTOOD);
  const options = url.searchParams;
  const socket = url.protocol === "unix:";
  const database = Number(options.get("db") ?? (socket ? "" : url.pathname.slice(1)));
  if (!Number.isSafeInteger(database)) throw new Error(NOT_UNDERSTOOD);
  const credentials = [url.username || options.get("username"), url.password || options.get("password")];
  const [user, password] = credentials.map((one) => encodeURIComponent(decodeURIComponent(one ?? "")));
  const as = password ? `${user ?? ""}:${password}@` : "";
  if (socket) return { url: `redis+unix://${as}localhost${decodeURIComponent(url.pathname)}`, database, tls: false };
  return { url: `${url.protocol}//${as}${url.host}`, database, tls: url.protocol === "rediss:" && tlsOf(options) };
}

function tlsOf(options: URLSearchParams): Record<string, unknown> | true {
  const files = { ca: "ssl_ca_certs", cert: "ssl_certfile", key: "ssl_keyfile" };
  const tls: Record<string, unknown> = {};
  for (const [name, option] of Object.entries(files)) {
    const path = options.get(option);
    if (path) tls[name] = readFileSync(path, "utf8");
  }
  if (options.get("ssl_cert_reqs") === "none") tls.rejectUnauthorized = false;
  // Bun takes no empty object.
  return Object.keys(tls).length ? tls : true;
}

function lost(error: unknown): boolean {
  return /closed|reset|EPIPE|FailedToOpen/i.test(reason(error));
}
