-- Sends the header lines of a file in turn, and tells what came of it in one line.
local requests, at = {}, 0

function init(arguments)
  for line in io.lines(arguments[1]) do
    local name, value = line:match("^([^:]+): (.*)$")
    requests[#requests + 1] = wrk.format("GET", nil, { [name] = value })
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency)
  local errors = summary.errors
  local broken = errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format("RESULT %d %d %d %d\n", summary.requests, summary.duration, errors.status + broken,
    latency:percentile(99)))
end
