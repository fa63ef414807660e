/** Memlane's plugin for OpenCode: captures what agents do, publishes it, and gives back what matters. */

import { Asker } from "./asking.ts";
import { Capture } from "./capture.ts";
import { Compaction } from "./compaction.ts";
import { Guard } from "./guard.ts";
import { Injection } from "./inject.ts";
import { Log } from "./log.ts";
import type { Hooks, Input } from "./opencode.ts";
import { optionsOf } from "./options.ts";
import { Publisher } from "./publisher.ts";
import { Timings } from "./timings.ts";
import { Tools } from "./tools.ts";
import { asFields, asList, asText } from "./values.ts";

/** Hooks that only take note take far less than a millisecond; this is for the case that they don't. */
const AT_ONCE_MS = 100;
/** A compaction waits for OpenCode's and the queue server's answer. */
const COMPACTING_MS = 1500;
/** How long the end of OpenCode may wait for the last events to reach lane or spool, ms. */
const DISPOSE_MS = 500;

/** Called once for each folder that OpenCode works in. */
function server(input: Input, given?: unknown): Promise<Partial<Hooks>> {
  const log = new Log(input.client);
  try {
    return Promise.resolve(hooksOf(input, given, log));
  } catch (error) {
    log.error("the plugin is off", error);
    return Promise.resolve({});
  }
}

function hooksOf(input: Input, given: unknown, log: Log): Partial<Hooks> {
  const [options, problems] = optionsOf(given, process.env);
  for (const problem of problems) log.warn(problem);
  const publisher = new Publisher(options, log);
  const capture = new Capture(input, options, (draft) => {
    publisher.publish(draft);
  });
  const asker = new Asker(options.home, options.valkeyUrl);
  const timings = new Timings(options.timings, log);
  const injection = new Injection(capture, asker, options, log, timings);
  const tools = new Tools(capture, asker, options, input.client, log);
  const compaction = new Compaction(capture, asker, options, input.client, log);
  const guard = new Guard(log, timings);
  publisher.begin(capture.groupOf(input.directory));

  return {
    event: guard.hook("event", AT_ONCE_MS, ({ event }) => {
      const { type } = event;
      const properties = asFields(event.properties);
      capture.event(type, properties);
      if (type === "session.idle") tools.turnEnded(capture.session(asText(properties.sessionID)));
    }),
    config: guard.hook("config", AT_ONCE_MS, (config) => {
      capture.compaction = asFields(config.compaction);
      const agents = asFields(config.agent);
      injection.ownPrompts = ["title", "compaction", "summary"].map((name) =>
        asText(asFields(agents[name]).prompt).trim(),
      );
    }),
    "chat.message": guard.hook("chat.message", AT_ONCE_MS, ({ sessionID }, { message, parts }) => {
      const id = asText(sessionID);
      const text = capture.said(id, asFields(message), asList(parts).map(asFields));
      if (options.inject) injection.ask(capture.session(id), text);
    }),
    "chat.params": guard.hook("chat.params", AT_ONCE_MS, ({ sessionID, agent, model }) => {
      if (agent === "title" || agent === "compaction" || agent === "summary") return;
      capture.session(asText(sessionID)).window.asked(asFields(model));
    }),
    "experimental.chat.system.transform": guard.hook(
      "experimental.chat.system.transform",
      options.recallDeadlineMs + AT_ONCE_MS,
      ({ sessionID }, { system }) => {
        const id = asText(sessionID);
        return options.inject && id ? injection.transform(capture.session(id), system) : undefined;
      },
    ),
    "experimental.session.compacting": guard.hook(
      "experimental.session.compacting",
      COMPACTING_MS,
      ({ sessionID }, output) => compaction.begin(sessionID, output),
    ),
    "tool.definition": guard.hook("tool.definition", AT_ONCE_MS, ({ toolID }, output) => {
      tools.define(toolID, output);
    }),
    dispose: guard.hook("dispose", DISPOSE_MS, async () => {
      capture.end();
      asker.close();
      await publisher.close();
    }),
    ...(options.tools ? { tool: tools.definitions } : {}),
  };
}

export default { id: "memlane", server };
