//! Owns the page's life with the engine: the picture, the clock and the meters.
//!
//! Receives updates from the bridge and commands from the parts; emits reactive state.

import type { Bridge } from "./bridge";
import type { Command, Diagnosis, Ending, Snapshot, Update } from "./generated/bindings";
import { apply } from "./model/picture";
import { Traffic } from "./model/traffic";

/** Ages are shown in seconds, so the page's clock moves once a second. */
const BEAT = 1_000;

export class Session {
  /** What is; none until the engine has said it. */
  picture = $state.raw<Snapshot | null>(null);
  /** The engine's clock, moved on locally between updates. */
  now = $state(0);
  /** How far the end had come when it was last heard of; none while nothing ends. */
  lastEnding = $state.raw<Ending | null>(null);
  /** Why the engine cannot be heard. */
  lost = $state<string | null>(null);
  /** Rises when the meters have moved; reading it subscribes. */
  beats = $state(0);

  readonly traffic = new Traffic();
  #bridge: Bridge | null = null;
  #offset = 0;

  async start(connect: () => Promise<Bridge>): Promise<void> {
    try {
      this.#bridge = await connect();
      await this.#bridge.watch((update) => this.#hear(update));
    } catch (error) {
      this.lost = error instanceof Error ? error.message : String(error);
      return;
    }
    setInterval(() => {
      if (!document.hidden) this.#beat();
    }, BEAT);
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.#beat();
    });
  }

  async command(command: Command): Promise<void> {
    await this.#bridge?.command(command);
  }

  async explain(name: string): Promise<Diagnosis | null> {
    return (await this.#bridge?.explain(name)) ?? null;
  }

  async copy(text: string): Promise<void> {
    await this.#bridge?.copy(text);
  }

  #hear(update: Update): void {
    this.#offset = update.now - performance.now();
    this.now = update.now;
    this.picture = apply(this.picture, update);
    if (this.picture?.phase !== "stopped") this.lastEnding = this.picture?.ending ?? null;
    if (this.picture) this.traffic.read(this.picture.forwards, this.picture.at);
  }

  #beat(): void {
    this.now = performance.now() + this.#offset;
    this.traffic.beat(this.now);
    this.beats += 1;
  }
}
