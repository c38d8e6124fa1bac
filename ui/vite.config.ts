import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vitest/config";

export default defineConfig({
  plugins: [svelte()],
  // Relative addresses, so that the same build opens from the app and from a folder.
  base: "./",
  build: {
    target: "es2022",
    // The page's policy allows no inline content.
    assetsInlineLimit: 0,
    modulePreload: false,
    // Set by hand, so that the fake's build never takes the place of the app's.
    emptyOutDir: true,
  },
  resolve: { conditions: ["browser"] },
  test: { environment: "happy-dom", include: ["src/**/*.test.ts"], css: true },
});
