import type { NextConfig } from "next";

// Nothing about the gateway: behind it, Next.js is asked by the public host.
const config: NextConfig = {};

export default config;
