// Reads HTTP/1 connections by llhttp, strictly: each a length (4 bytes, big-endian) and its bytes, on standard input.
//
// Writes in the same form, as JSON, what it finds in each: the requests, and why there is none behind the last.

import { readSync, writeSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

// It is installed elsewhere: this tree is not written to.
const llhttp = join(process.argv[2], "node_modules/undici/lib/llhttp");
const require = createRequire(import.meta.url);
const { ERROR, TYPE } = require(join(llhttp, "constants.js"));

// What is read now.
let request, requests, trailing;

const text = (at, length) => Buffer.from(parser.memory.buffer, at, length).toString("latin1");
const list = () => (trailing ? request.trailers : request.headers);
let named = false;

const { exports: parser } = new WebAssembly.Instance(new WebAssembly.Module(require(join(llhttp, "llhttp-wasm.js"))), {
  env: {
    wasm_on_message_begin: () => {
      request = { target: "", headers: [], body: "", trailers: [] };
      trailing = named = false;
      return 0;
    },
    wasm_on_url: (_, at, length) => ((request.target += text(at, length)), 0),
    wasm_on_status: () => 0,
    // A field comes in pieces, if its value is folded or the bytes are.
    wasm_on_header_field: (_, at, length) => {
      if (!named) list().push(["", ""]);
      named = true;
      list().at(-1)[0] += text(at, length);
      return 0;
    },
    wasm_on_header_value: (_, at, length) => {
      named = false;
      list().at(-1)[1] += text(at, length);
      return 0;
    },
    wasm_on_headers_complete: () => {
      trailing = true;
      named = false;
      return 0;
    },
    wasm_on_body: (_, at, length) => ((request.body += text(at, length)), 0),
    // Here the message ends, and where that is can be asked.
    wasm_on_message_complete: () => ERROR.PAUSED,
  },
});
parser._initialize();

const string = (at) => {
  const memory = Buffer.from(parser.memory.buffer);
  return memory.toString("latin1", at, memory.indexOf(0, at));
};

function read(bytes) {
  const it = parser.llhttp_alloc(TYPE.REQUEST);
  const start = parser.malloc(bytes.length + 1);
  Buffer.from(parser.memory.buffer, start, bytes.length).set(bytes);
  [requests, request] = [[], undefined];
  let ended = "";
  for (let at = 0; ended === ""; ) {
    const result = parser.llhttp_execute(it, start + at, bytes.length - at);
    if (result === ERROR.OK) {
      ended = "more is needed";
      break;
    }
    at = parser.llhttp_get_error_pos(it) - start;
    if (result === ERROR.PAUSED) {
      request.method = string(parser.llhttp_method_name(parser.llhttp_get_method(it)));
      request.version = `${parser.llhttp_get_http_major(it)}.${parser.llhttp_get_http_minor(it)}`;
      request.end = at;
      requests.push(request);
      parser.llhttp_resume(it);
    } else if (result === ERROR.PAUSED_UPGRADE) {
      // Nothing of a tunnel.
      parser.llhttp_resume_after_upgrade(it);
    } else if (result === ERROR.CLOSED_CONNECTION) {
      ended = "it was the last";
    } else {
      ended = `refused: ${string(parser.llhttp_get_error_reason(it))}`;
    }
  }
  parser.free(start);
  parser.llhttp_free(it);
  return { requests, ended };
}

// `null` at the end.
function exactly(length) {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; ) {
    const read = readSync(0, bytes, at, length - at);
    if (read === 0) return null;
    at += read;
  }
  return bytes;
}

function write(bytes) {
  for (let at = 0; at < bytes.length; ) at += writeSync(1, bytes, at);
}

for (let length; (length = exactly(4)); ) {
  const found = Buffer.from(JSON.stringify(read(exactly(length.readUInt32BE()))));
  const head = Buffer.alloc(4);
  head.writeUInt32BE(found.length);
  write(Buffer.concat([head, found]));
}
