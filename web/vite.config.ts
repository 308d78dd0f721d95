import { defineConfig, type Plugin } from "vite";
import { viteSingleFile } from "vite-plugin-singlefile";

/** Puts the program behind the page, so that a poster is shown before it has arrived. */
const programLast: Plugin = {
  name: "program-last",
  enforce: "post",
  generateBundle(_options, bundle) {
    for (const asset of Object.values(bundle)) {
      if (asset.type !== "asset" || !asset.fileName.endsWith(".html")) continue;
      const page = String(asset.source);
      const begin = page.indexOf('<script type="module"');
      const end = page.indexOf("</script>", begin) + "</script>".length;
      const rest = page.slice(0, begin).trimEnd() + page.slice(end);
      const body = rest.lastIndexOf("  </body>");
      asset.source = `${rest.slice(0, body)}    ${page.slice(begin, end)}\n${rest.slice(body)}`;
    }
  },
};

// One file that runs from disk: no module preload helper, no hashed names, everything inlined.
export default defineConfig({
  plugins: [viteSingleFile({ removeViteModuleLoader: true }), programLast],
  build: {
    target: "es2022",
    outDir: "dist",
    emptyOutDir: true,
    modulePreload: { polyfill: false },
    rollupOptions: { input: "viewer.html" },
  },
});
