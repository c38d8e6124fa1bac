//! Owns one place's question to the engine: whether it is under way, and why it was
//! declined. Receives commands; emits reactive state.

import type { Command } from "./generated/bindings";
import type { Session } from "./session.svelte";

export class Asking {
  busy = $state(false);
  declined = $state<string | null>(null);

  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  /** Asks; what went wrong stands in `declined` until the next question. */
  run = (command: Command): Promise<void> => this.attempt(this.#session.command(command));

  /** Waits for something else that can be declined. */
  attempt = async (asked: Promise<void>): Promise<void> => {
    this.busy = true;
    this.declined = null;
    try {
      await asked;
    } catch (error) {
      this.declined = error instanceof Error ? error.message : String(error);
    }
    this.busy = false;
  };
}
