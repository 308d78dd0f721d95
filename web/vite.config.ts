import { defineConfig } from "vite";
import { viteSingleFile } from "vite-plugin-singlefile";

// One file that runs from disk: no module preload helper, no hashed names, everything inlined.
export default defineConfig({
  plugins: [viteSingleFile({ removeViteModuleLoader: true })],
  build: {
    target: "es2022",
    outDir: "dist",
    emptyOutDir: true,
    modulePreload: { polyfill: false },
    rollupOptions: { input: "viewer.html" },
  },
});
