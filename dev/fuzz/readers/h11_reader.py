"""Reads HTTP/1 connections by h11: each a length (4 bytes, big-endian) and its bytes, on standard input.

Writes in the same form, as JSON, what it finds in each: the requests, and why there is none behind the last.
"""

import json
import struct
import sys

import h11


def text(value):
    return bytes(value).decode("latin-1")


def fields(headers):
    return [[text(name), text(value)] for name, value in headers]


def read(data):
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(data)
    requests, request = [], None
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                request = {
                    "method": text(event.method),
                    "target": text(event.target),
                    "version": text(event.http_version),
                    "headers": fields(event.headers),
                    "body": "",
                }
            elif isinstance(event, h11.Data):
                request["body"] += text(event.data)
            elif isinstance(event, h11.EndOfMessage):
                request["trailers"] = fields(event.headers)
                request["end"] = len(data) - len(connection.trailing_data[0])
                requests.append(request)
                request = None
                # Nothing of a tunnel.
                connection.send(h11.Response(status_code=405, headers=[("content-length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                    return requests, "it was the last"
                connection.start_next_cycle()
            else:
                return requests, str(event)
    except h11.RemoteProtocolError as error:
        return requests, f"refused: {error}"


def main():
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while length := source.read(4):
        requests, ended = read(source.read(struct.unpack(">I", length)[0]))
        found = json.dumps({"requests": requests, "ended": ended}).encode()
        sink.write(struct.pack(">I", len(found)) + found)
        sink.flush()


main()
