/**
 * Publishes as the plugin does, for tests that come from outside: `bun publish.ts '{"home", "url", "group", "events"}'`
 * publishes so many numbered events, lets go, and prints what became of them and what was logged.
 */

import { Log } from "../src/log.ts";
import { Publisher } from "../src/publisher.ts";

const { home, url, group, events, deadline, spoolBytes } = JSON.parse(process.argv[2] ?? "{}") as {
  home: string;
  url?: string;
  group: string;
  events: number;
  deadline?: number;
  spoolBytes?: number;
};
const logged: unknown[] = [];
const client = {
  app: {
    log: ({ body }: { body: unknown }): Promise<unknown> => {
      logged.push(body);
      return Promise.resolve();
    },
  },
};
const options = { home, valkeyUrl: url, publishDeadlineMs: deadline ?? 50, spoolBytes: spoolBytes ?? 1e6 };
const publisher = new Publisher(options, new Log(client as never));
const began = performance.now();
let longest = 0;
publisher.begin(group);
for (let number = 0; number < events; number++) {
  const before = performance.now();
  publisher.publish({
    type: "file.write",
    session: "s",
    data: { path: `${number}.txt` },
    time: Date.now(),
    native: `n${number}`,
    project: "/p",
    group,
  });
  longest = Math.max(longest, performance.now() - before);
  // As in OpenCode, others have their turns between two events.
  if (number % 10 === 9) await Bun.sleep(1);
}
await publisher.close();
const ms = performance.now() - began;
process.stdout.write(JSON.stringify({ ...publisher.counts, ms, longest, logged }) + "\n");
// As OpenCode ends: Bun would wait for a connection that a lying server keeps open.
process.exit(0);
