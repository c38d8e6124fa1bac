//! Owns the window's picture of the engine: receives updates in order, emits the
//! snapshot they amount to. Forwards that did not change keep their identity.

import type { Snapshot, Update } from "../generated/bindings";

/** The picture after `update`; none as long as no whole one has come. */
export function apply(picture: Snapshot | null, update: Update): Snapshot | null {
  if (update.update === "whole") return update.snapshot;
  if (picture === null) return null;
  const changed = new Map(update.forwards.map((forward) => [forward.name, forward]));
  return {
    ...picture,
    seq: update.seq,
    at: update.at,
    phase: update.phase,
    ending: update.ending,
    contexts: update.contexts ?? picture.contexts,
    forwards:
      changed.size === 0
        ? picture.forwards
        : picture.forwards.map((forward) => changed.get(forward.name) ?? forward),
  };
}
