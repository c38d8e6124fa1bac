import { expect, test } from "vitest";
import css from "../app.css?raw";

function tokens(block: string): Record<string, string> {
  return Object.fromEntries([...block.matchAll(/--(\w+): (#[0-9a-f]{6});/g)].map((m) => [m[1]!, m[2]!]));
}

function luminance(hex: string): number {
  const [r, g, b] = [1, 3, 5].map((start) => {
    const value = parseInt(hex.slice(start, start + 2), 16) / 255;
    return value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  }) as [number, number, number];
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(a: string, b: string): number {
  const [light, dark] = [luminance(a), luminance(b)].sort((x, y) => y - x) as [number, number];
  return (light + 0.05) / (dark + 0.05);
}

const light = tokens(css.slice(0, css.indexOf("@media")));
const dark = tokens(css.slice(css.indexOf("@media")));

test.each([
  ["light", light],
  ["dark", dark],
])("text can be read on its ground: %s", (_, colours) => {
  const pairs: [string, string[], number][] = [
    ["ink", ["bg", "panel", "warnbg", "badbg", "hover"], 4.5],
    ["mute", ["bg", "panel", "warnbg", "badbg", "hover"], 4.5],
    ["warn", ["panel"], 4.5],
    ["bad", ["panel"], 4.5],
    ["panel", ["accent"], 4.5],
    // Shapes and outlines, not text.
    ["ok", ["panel"], 3],
    ["idle", ["panel"], 3],
    ["edge", ["panel", "bg"], 3],
    ["accent", ["panel", "bg"], 3],
  ];
  for (const [text, grounds, least] of pairs) {
    for (const ground of grounds) {
      const ratio = contrast(colours[text]!, colours[ground]!);
      expect(ratio, `--${text} on --${ground} is ${ratio.toFixed(2)}`).toBeGreaterThanOrEqual(least);
    }
  }
});
