import { expect, test } from "vitest";
import { forward } from "../fake/fixtures";
import type { ForwardState, ListenerState, TargetState, TunnelState } from "../generated/bindings";
import table from "../generated/words.json";
import { standing, summary, word } from "../model/standing";

type Case = [ForwardState, ListenerState, TunnelState, TargetState, number | null, string, string];

test("the window says the engine's words in every case (G3)", () => {
  const cases = table.cases as Case[];
  expect(cases.length).toBeGreaterThan(400);
  for (const [state, listener, tunnel, target, fresh_until, stands, says] of cases) {
    const each = forward("case", "dev", 1, "svc/x:1", {
      state,
      listener: { state: listener },
      tunnel: { state: tunnel },
      target_health: { state: target, fresh_until },
    });
    const about = JSON.stringify([state, listener, tunnel, target, fresh_until]);
    expect(standing(each, table.now), about).toBe(stands);
    expect(word(each, table.now), about).toBe(says);
  }
});

test("the sentence names the place that all the waiting share", () => {
  const off = forward("a", "dev", 1, "svc/a:1", { state: "stopped" });
  const waits = (context: string) => forward(context, context, 1, "svc/a:1", { state: "backing-off" });
  expect(summary([], 0)).toBe("No forwards yet");
  expect(summary([waits("staging"), off], 0)).toBe("1 waiting for staging · 1 off");
  expect(summary([waits("staging"), waits("dev")], 0)).toBe("2 waiting");
  expect(summary([waits("staging")], 0, false)).toBe("1 waiting");
});

test("a proof that has run out is not green, without any news from the engine", () => {
  const each = forward("a", "dev", 1, "svc/a:1", { target_health: { fresh_until: 1_000 } });
  expect(word(each, 1_000)).toBe("serving");
  expect(word(each, 1_001)).toBe("unproved");
});
