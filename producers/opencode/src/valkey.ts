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
/** How long connecting may take, ms. It goes on when an exchange no longer waits for it. */
const CONNECT_MS = 2000;

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
    const [url, tls] = ofBun(this.url);
    const client = new RedisClient(url, {
      connectionTimeout: CONNECT_MS,
      autoReconnect: false,
      enableOfflineQueue: false,
      ...(tls ? { tls } : {}),
    });
    this.#client = client;
    try {
      await within(CONNECT_MS, client.connect());
    } catch (error) {
      this.#drop(client);
      throw error;
    }
    return client;
  }
}

function sender(client: RedisClient): Send {
  return (command, ...parameters) => client.send(command, parameters.map(String)) as Promise<unknown>;
}

/** The URL as Bun's client spells it, and its TLS options; redis-py's names for these are those of everybody else. */
function ofBun(given: string): [string, Record<string, unknown> | undefined] {
  const url = understood(given);
  if (!url) throw new Error("the queue server's address can't be understood");
  const ask = url.searchParams;
  if (url.protocol === "unix:") return [given.replace(/^unix:\/\//, "redis+unix://"), undefined];
  if (url.protocol !== "rediss:") return [given, undefined];
  const file = (name: string): string | undefined => {
    const path = ask.get(name);
    return path ? readFileSync(path, "utf8") : undefined;
  };
  const tls = { ca: file("ssl_ca_certs"), cert: file("ssl_certfile"), key: file("ssl_keyfile") };
  const known = Object.fromEntries(Object.entries(tls).filter(([, value]) => value !== undefined));
  url.search = "";
  return [url.href, { ...known, ...(ask.get("ssl_cert_reqs") === "none" ? { rejectUnauthorized: false } : {}) }];
}

function lost(error: unknown): boolean {
  return /closed|reset|EPIPE/i.test(reason(error));
}
