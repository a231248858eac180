"use client";

import { useEffect, useState } from "react";

// The newest server-sent event, and what the WebSocket server knows of whoever opened it.
export function Live() {
  const [tick, setTick] = useState("…");
  const [known, setKnown] = useState("…");
  useEffect(() => {
    const events = new EventSource("/events");
    events.onmessage = (event) => setTick(event.data);
    const socket = new WebSocket("/ws");
    socket.onmessage = (message) => setKnown(JSON.parse(message.data).user);
    return () => {
      events.close();
      socket.close();
    };
  }, []);
  return (
    <output>
      Event <b data-testid="tick">{tick}</b>, at the WebSocket server <b data-testid="known">{known}</b>
    </output>
  );
}
