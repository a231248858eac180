// A WebSocket server behind the gateway: tells whoever comes who they are, and says everything again.
import { createRemoteJWKSet, jwtVerify } from "jose";
import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const keys = createRemoteJWKSet(new URL("http://127.0.0.1:8001/.well-known/jwks.json"));
const expected = { issuer: "auth-verifier", audience: "internal", algorithms: ["EdDSA"] };

// Who it is, proved: the gateway sets both headers, and auth-verifier has signed the second one.
async function userOf({ headers }) {
  const { payload } = await jwtVerify(headers["x-identity-assertion"] ?? "", keys, expected);
  if (!payload.sub || payload.sub !== headers["x-user-id"]) throw new Error("two users in one request");
  return payload.sub;
}

const sockets = new WebSocketServer({ noServer: true, maxPayload: 65536 });
const server = createServer((_request, response) => response.writeHead(426).end());
server.on("upgrade", async (request, connection, head) => {
  try {
    const user = await userOf(request);
    sockets.handleUpgrade(request, connection, head, (socket) => {
      // What else has come is for the checks: nobody's cookies should.
      socket.send(JSON.stringify({ user, cookie: request.headers.cookie ?? null }));
      socket.on("message", (data) => socket.send(data.toString()));
      socket.on("close", (code) => console.log(`closed with ${code}`));
    });
  } catch (error) {
    console.error(`refused: ${error.message}`);
    connection.end("HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
  }
});
server.listen(3001, "127.0.0.1", () => console.log("listening on 127.0.0.1:3001"));
