//! Owns an engine that only pretends, for looking at the page in a plain browser:
//! `?fake=five`, `empty`, `nothing`, `trouble`, `drained`, `draining`, `cutting`, `ended`, `starting`, `500`; with
//! `&still` nothing moves, for photographs.

import { DeclinedError, type Bridge } from "../bridge";
import type { Command, Forward, Snapshot, Update } from "../generated/bindings";
import { diagnosis, FIXTURES, forward, START } from "./fixtures";

function chosen(command: Command, forwards: Forward[]): Forward[] {
  if (command.command === "cancel_quit" || command.command === "hurry_quit") return [];
  const selector = command.command === "drain" ? command.selector.selector : command.selector;
  if (typeof selector === "string" && command.command === "trust_host_key") {
    return forwards.filter(({ name }) => name === selector);
  }
  if (selector === "all" || typeof selector === "string") return forwards;
  if ("names" in selector) return forwards.filter(({ name }) => selector.names.includes(name));
  if ("tag" in selector) return forwards.filter(({ tags }) => tags.includes(selector.tag));
  return forwards.filter(({ context }) => context === selector.context);
}

function after(command: Command, each: Forward): Forward {
  const port = Number(each.local.split(":").at(-1));
  if (command.command === "stop") {
    return {
      ...each,
      wanted: false,
      state: "stopped",
      listener: { state: "closed", addresses: [] },
      tunnel: { ...each.tunnel, state: "off", retry_at: null },
      problem: null,
    };
  }
  if (command.command === "start" || command.command === "resume" || command.command === "trust_host_key") {
    return forward(each.name, each.context, port, each.target, { technology: each.technology, bytes: each.bytes });
  }
  return { ...each, tunnel: { ...each.tunnel, state: "connecting", retry_at: null } };
}

export async function fakeBridge(name: string): Promise<Bridge> {
  const still = new URLSearchParams(location.search).has("still");
  let picture: Snapshot = (FIXTURES[name] ?? FIXTURES["five"]!)();
  let now = START;
  let hear: (update: Update) => void = () => {};

  const send = (forwards: Forward[]) => {
    const changed = new Map(forwards.map((each) => [each.name, each]));
    picture = {
      ...picture,
      seq: picture.seq + 1,
      at: now,
      forwards: picture.forwards.map((each) => changed.get(each.name) ?? each),
    };
    const { seq, at, phase, ending } = picture;
    hear({ update: "changed", now, seq, at, phase, ending, forwards, contexts: null });
  };

  const move = () => {
    now += 1_000;
    send(
      picture.forwards
        .filter(({ connections }) => connections.open > 0)
        .map((each) => ({
          ...each,
          bytes: {
            up: each.bytes.up + Math.round(Math.random() * 20_000),
            down: each.bytes.down + Math.round(Math.random() * 400_000),
          },
        })),
    );
  };

  return {
    async watch(listener) {
      hear = listener;
      listener({ update: "whole", now, snapshot: picture });
      if (still) return () => {};
      const timer = setInterval(move, 1_000);
      return () => clearInterval(timer);
    },
    async command(command) {
      const about = chosen(command, picture.forwards);
      if (about.length === 0) {
        const refusal = { error: "not_now", sentence: "there is nothing to do" } as const;
        throw new DeclinedError({ declined: "command", refusal, sentence: refusal.sentence });
      }
      send(about.map((each) => after(command, each)));
      return { forwards: about.map((each) => each.name), message: null };
    },
    async explain(name) {
      await new Promise((done) => setTimeout(done, still ? 0 : 900));
      return diagnosis(name);
    },
    copy: (text) => navigator.clipboard.writeText(text),
  };
}
