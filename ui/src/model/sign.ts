//! Owns the sign ■──●──◆: listener, tunnel, target, each by shape, fill, colour and line.

import type { Forward } from "../generated/bindings";
import type { Tone } from "./standing";

export type Stroke = "solid" | "dashed" | "dotted";

export interface Part {
  tone: Tone;
  /** Solid means proved. */
  filled: boolean;
}

export interface Sign {
  listener: Part;
  tunnel: Part;
  target: Part;
  /** Between listener and tunnel. */
  near: { tone: Tone; stroke: Stroke };
  /** Between tunnel and target. */
  far: { tone: Tone; stroke: Stroke };
}

const OFF: Part = { tone: "idle", filled: false };
const PROVED: Part = { tone: "ok", filled: true };
const TRYING: Part = { tone: "warn", filled: false };
const BROKEN: Part = { tone: "bad", filled: false };

const STROKES: Record<Tone, Stroke> = { ok: "solid", warn: "dashed", bad: "dotted", idle: "solid" };

export function sign(forward: Forward, now: number): Sign {
  const leaving = forward.state === "stopped" || forward.state === "stopping";
  const listener = leaving ? OFF : listenerPart(forward);
  const tunnel = leaving ? OFF : tunnelPart(forward);
  const target = leaving ? OFF : targetPart(forward, now);
  // A line belongs to the part it leads to; behind a tunnel that is not up nothing is known.
  const far = tunnel === PROVED ? target.tone : tunnel.tone;
  return {
    listener,
    tunnel,
    target,
    near: { tone: tunnel.tone, stroke: STROKES[tunnel.tone] },
    far: { tone: far, stroke: STROKES[far] },
  };
}

function listenerPart({ listener }: Forward): Part {
  if (listener.state === "conflict") return BROKEN;
  return listener.state === "listening" ? PROVED : OFF;
}

function tunnelPart({ tunnel, state }: Forward): Part {
  if (tunnel.state === "up") return PROVED;
  if (tunnel.state === "off") return OFF;
  return state === "failed" ? BROKEN : TRYING;
}

function targetPart({ tunnel, target_health: target }: Forward, now: number): Part {
  if (tunnel.state !== "up") return OFF;
  if (target.state === "failing") return BROKEN;
  const fresh = target.state === "healthy" && target.fresh_until !== null && now <= target.fresh_until;
  return fresh ? PROVED : TRYING;
}
