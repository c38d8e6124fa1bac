import { describe, expect, test } from "vitest";
import type { Ending, Stage } from "../generated/bindings";
import { START } from "../fake/fixtures";
import { farewell, leaving } from "../model/leaving";

function ending(stage: Stage, over: Partial<Ending> = {}): Ending {
  const can_cancel = stage === "stop_new_work" || stage === "complete_current";
  return { stage, since: START, until: START + 8_000, open: 0, can_cancel, left: [], first: [], more: 0, forced: 0, ...over };
}

describe("the end in the window (S10.2)", () => {
  test("one stage is under way, those before are past", () => {
    const places = (stage: Stage) => leaving(ending(stage), START).steps.map(({ place }) => place);
    expect(places("stop_new_work")).toEqual(["now", "ahead", "ahead", "ahead"]);
    expect(places("cancel_tasks")).toEqual(["past", "past", "now", "ahead"]);
    expect(places("force_cleanup")).toEqual(["past", "past", "past", "now"]);
  });

  test("the countdown is rounded up and never negative", () => {
    const at = (now: number) => leaving(ending("complete_current"), now).seconds;
    expect([at(START), at(START + 7_001), at(START + 8_000), at(START + 60_000)]).toEqual([8, 1, 0, 0]);
  });

  test("connections are named by their forward, all else by itself", () => {
    const view = leaving(
      ending("complete_current", {
        open: 1,
        first: [
          { kind: "connection", name: "1 open connection", owner: "db" },
          { kind: "child", name: "ssh me@host", owner: "wiki" },
        ],
        more: 2,
      }),
      START,
    );
    expect(view.names).toEqual([
      { name: "db", about: "1 open connection" },
      { name: "ssh me@host", about: "process of wiki" },
    ]);
    expect(view.more).toBe("and 2 more");
    expect(view.says).toBe("1 connection may still finish, then it is cut");
    expect(view.hurry).toEqual({ label: "Close now", cuts: "cuts 1 open connection" });
  });

  test("there is nothing to hurry where nothing would be cut", () => {
    expect(leaving(ending("stop_new_work"), START).hurry).toBeNull();
    expect(leaving(ending("complete_current"), START).hurry).toBeNull();
    expect(leaving(ending("force_cleanup"), START).hurry).toBeNull();
  });

  test("the last word says what had to be forced", () => {
    expect(farewell(null)).toBe("Everything was released.");
    expect(farewell(ending("force_cleanup", { forced: 1 }))).toContain("1 thing had to be forced");
  });
});
