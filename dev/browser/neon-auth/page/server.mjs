// Serves the page as `vite` would: two static files, the script bundled with the SDK.
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { build } from "esbuild";

const here = new URL(".", import.meta.url).pathname;
const bundled = await build({
  entryPoints: [`${here}main.js`],
  bundle: true,
  format: "esm",
  minify: true,
  write: false,
  define: { "process.env.NODE_ENV": '"production"' },
});
const files = new Map([
  ["/", ["text/html; charset=utf-8", await readFile(`${here}index.html`)]],
  ["/main.js", ["text/javascript", bundled.outputFiles[0].contents]],
]);
createServer((request, response) => {
  // It is nobody's business here who somebody is.
  if (request.headers.cookie) console.log(`a cookie came with ${request.url}`);
  const [type, text] = files.get(request.url) ?? [];
  if (!type) return response.writeHead(404).end();
  response.setHeader("content-type", type).end(text);
}).listen(5173, "127.0.0.1", () => console.log("listening"));
