/** What the plugin knows of each session while it lasts. */

import { Window } from "./context.ts";
import type { Conversation } from "./conversation.ts";
import { asFields, asText, asTime, type Fields } from "./values.ts";

/** One session of this OpenCode process. */
export class Session {
  readonly id: string;
  readonly conversation: Conversation;
  readonly window = new Window();
  /** Epoch ms. */
  created: number;
  model = "";
  agent = "";
  /** Whether its start has been told. */
  started = false;
  /** Whether something of it was told since it last ended. */
  active = false;
  /** The model that answers, for `session.summarize`. */
  answering: { providerID: string; modelID: string } | undefined;
  /** The agent asked for a compaction, which is begun when the turn has ended. */
  compactAtEnd = false;
  /** Whether its turn has ended, and no other has begun. */
  resting = false;
  /** Ends the session when it has rested for long. */
  timer: ReturnType<typeof setTimeout> | undefined;

  constructor(id: string, conversation: Conversation) {
    this.id = id;
    this.conversation = conversation;
    this.created = Date.now();
  }

  /** Take note of what OpenCode says of it. */
  known(info: Fields): void {
    const { conversation } = this;
    conversation.directory = asText(info.directory) || conversation.directory;
    conversation.parent = asText(info.parentID) || undefined;
    const title = asText(info.title);
    // Until a model has found a title, it is the date.
    if (title && !/^(New|Child) session - \d{4}-/.test(title)) conversation.title = title;
    this.created = asTime(asFields(info.time).created) ?? this.created;
    this.agent = asText(info.agent) || this.agent;
    const model = asFields(info.model);
    const named = [asText(model.providerID), asText(model.id)].filter((part) => part).join("/");
    this.model = named || this.model;
  }
}
