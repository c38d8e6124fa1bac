//! Owns the way to the engine. The only file that knows Tauri; everything else sees
//! [`Bridge`], so that the same page runs in a plain browser on a fake one.

import type { Command, Declined, Diagnosis, Done, Update } from "./generated/bindings";

export interface Bridge {
  /** Hears every update, first a whole one, until the returned function is called. */
  watch(hear: (update: Update) => void): Promise<() => void>;
  /** Asks the engine; throws [`DeclinedError`]. */
  command(command: Command): Promise<Done>;
  /** Walks the way of a forward or context, step by step; throws [`DeclinedError`]. */
  explain(name: string): Promise<Diagnosis>;
  /** Puts text on the clipboard; throws [`DeclinedError`]. */
  copy(text: string): Promise<void>;
}

/** What was asked for did not happen; the message is a sentence for people. */
export class DeclinedError extends Error {
  constructor(readonly declined: Declined) {
    super(declined.sentence);
  }
}

function isDeclined(value: unknown): value is Declined {
  return typeof value === "object" && value !== null && "declined" in value;
}

async function tauri(): Promise<Bridge> {
  const { Channel, invoke } = await import("@tauri-apps/api/core");
  const ask = async <T>(name: string, args: Record<string, unknown>): Promise<T> => {
    try {
      return await invoke<T>(name, args);
    } catch (error) {
      throw isDeclined(error) ? new DeclinedError(error) : error;
    }
  };
  return {
    async watch(hear) {
      const channel = new Channel<Update>();
      channel.onmessage = hear;
      await ask("watch", { channel });
      return () => {
        channel.onmessage = () => {};
      };
    },
    command: (command) => ask("command", { command }),
    explain: (name) => ask("explain", { name }),
    copy: (text) => ask("copy", { text }),
  };
}

/** The bridge of this page. */
export async function connect(): Promise<Bridge> {
  if ("__TAURI_INTERNALS__" in window) return tauri();
  // Left out of the app's own build.
  if (import.meta.env.DEV || import.meta.env.MODE === "fake") {
    const { fakeBridge } = await import("./fake/bridge");
    return fakeBridge(new URLSearchParams(location.search).get("fake") ?? "five");
  }
  throw new Error("this page belongs inside LocalPort's window");
}
