-- For wrk: sends the lines of a file (the argument after --) in a cycle, each `METHOD PATH` or `METHOD PATH BODY`, with
-- a pause after each response, and prints the results as JSON.
local PAUSE_MS = 20
local requests, position = {}, 0

function init(args)
  local headers = { ["Content-Type"] = "application/json", ["Host"] = wrk.headers["Host"] }
  for line in io.lines(args[1]) do
    local method, path, body = line:match("^(%u+) (%S+) ?(.*)$")
    requests[#requests + 1] = wrk.format(method, path, headers, body ~= "" and body or nil)
  end
end

function request()
  position = position % #requests + 1
  return requests[position]
end

function delay()
  return PAUSE_MS
end

function done(summary, latency, _)
  local wrong = summary.errors
  io.write(string.format('\n{"requests": %d, "refused": %d, "broken": %d, "max_ms": %.1f}\n',
    summary.requests, wrong.status, wrong.connect + wrong.read + wrong.write + wrong.timeout, latency.max / 1e3))
end
